"""Checks of the repository that no linter offers; `scripts/check` runs them."""
