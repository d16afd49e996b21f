"""The device process and the queue in front of it."""
