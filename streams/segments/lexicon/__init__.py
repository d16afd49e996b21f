"""Words for things that a picture can show: English nouns, and the terms of other languages for them.

`scripts/build_lexicon.py` writes the tables in this folder.
"""
