"""`segment-updated` events: the handler, and how a description becomes a prompt."""
