"""The stages from a prompt to a finished picture: candidates, scores, selection, enlargement, provenance."""
