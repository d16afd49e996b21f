"""The `creatives` command: one file per command, and the files that several commands share."""
