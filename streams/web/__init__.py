"""The worker's HTTP pages: health, status, metrics and gallery."""
