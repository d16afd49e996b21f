"""The `creatives` command: a file per command, and what several of them share."""
