#!/usr/bin/env python3
"""Builds the word tables of `streams/segments/lexicon/`: `build_lexicon.py [--packages FOLDER] [LANGUAGE ...]`.

Fetches WordNet, CLDR and emojibase as npm packages, checks their hashes, and writes equal bytes for equal input.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.lexicon import tables  # noqa: E402

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", type=Path, default=ROOT / "build/packages", help="where to unpack the packages")
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE", help="such as en or pl; without any, all are built")
    arguments = parser.parse_args()
    tables.build(arguments.packages, ROOT / "streams/segments/lexicon", arguments.languages)
