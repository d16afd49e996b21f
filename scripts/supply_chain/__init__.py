"""What the lock file installs: read it, list it as an SBOM, look it up in a database of vulnerabilities."""
