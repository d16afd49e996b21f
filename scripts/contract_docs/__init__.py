"""Renders the pages that `scripts/contracts` writes from the pydantic models."""
