"""Builds the word tables in `streams/segments/lexicon/`, for `scripts/build_lexicon.py`."""
