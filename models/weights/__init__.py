"""Finding, checking and loading weight files."""
