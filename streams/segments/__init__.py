"""`segment-updated` events: the handler, the prompt and its rationale."""
