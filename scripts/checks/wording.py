#!/usr/bin/env python3
"""Find words that this repository does not use: `scripts/checks/wording.py`.

wording.txt lists the words with their replacements. The script searches prose and identifiers of the files that git
tracks, prints `path:line: word -> use ...` for each word it finds, and then exits with code 1.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORDS = Path(__file__).with_suffix(".txt")
FILES = (
    "*.py",
    "*.md",
    "*.html",
    "*.yml",
    "Makefile",
    "*/Makefile",
    "scripts/*",
    "Dockerfile",
    ".ci/*",
    "pyproject.toml",
)
EXEMPT = {
    "scripts/checks/wording.": "lists the words",
    "tests/scripts/test_wording.py": "tests the check",
    "docs/decisions/0015-": "lists every old name with its new one",
    **{f"scripts/lexicon/{name}.": "lists nouns" for name in ("english_common", "english_extra", "polish", "everyday")},
    "scripts/demo_family/": "is rewritten separately; remove this line then",
}
"""Path prefixes that are not searched, each with the reason."""
ALLOWED = {
    ("tests/scripts/test_demo_family.py", "desk"): "captions place objects on a desk",
    ("tests/models/test_studio.py", "desks"): "a prompt with a word that contains a placeholder token",
    ("tests/models/rendering/test_concept_shelf.py", "desks"): "a prompt with a word that contains a placeholder token",
}
"""Single words that a file may contain, each with the reason."""
RENAMES = ("CHANGELOG.md", re.compile(r"->|→|\b(?:is|are) now\b"))
"""This file may contain an old name on a line that also gives the new one."""

_IDENTIFIER = re.compile(r"_|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN_WORDS = r"(?:\s+|\n[ \t]*[#>*]+[ \t]*)"  # a phrase may continue on the next line of a comment


@dataclass(frozen=True)
class Word:
    """A word or phrase, and what to write instead."""

    text: str
    replacement: str

    @property
    def pattern(self) -> str:
        return _BETWEEN_WORDS.join(map(re.escape, self.text.split()))


@dataclass(frozen=True)
class Hit:
    """A place where a word was found. line: counted from 1."""

    line: int
    word: Word


def read_words(path: Path = WORDS) -> list[Word]:
    """Return the words of the list. Raises ValueError for a line without a replacement."""
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        words, arrow, replacement = line.partition(" -> ")
        if not (arrow and replacement.strip()):
            raise ValueError(f"{path}:{number}: write this line as `word, word -> replacement`")
        found += [Word(word.strip(), replacement.strip()) for word in words.split(",")]
    return found


def search(text: str, words: list[Word]) -> Iterator[Hit]:
    """Yield each word in prose and identifiers, in the order of the text."""
    split = _IDENTIFIER.sub(" ", text)
    by_text = {word.text: word for word in words}
    alternatives = "|".join(word.pattern for word in sorted(words, key=lambda word: -len(word.text)))
    for match in re.finditer(rf"(?<!\w)(?:{alternatives})(?!\w)", split, re.IGNORECASE):
        line = split.count("\n", 0, match.start()) + 1
        yield Hit(line, by_text[" ".join(re.findall(r"[^\W_]+", match[0].lower()))])


def is_allowed(path: str, line: str, word: Word) -> bool:
    """Return whether the file may contain the word on this line."""
    name, arrow = RENAMES
    return (path, word.text) in ALLOWED or (path == name and arrow.search(line) is not None)


def tracked_files(root: Path) -> list[str]:
    """Return the paths to search, relative to the root."""
    listed = subprocess.run(["git", "ls-files", "--", *FILES], cwd=root, check=True, capture_output=True, text=True)
    return [path for path in listed.stdout.splitlines() if not path.startswith(tuple(EXEMPT))]


def check(root: Path, words: list[Word]) -> list[str]:
    """Return a message for each word that a tracked file contains."""
    found = []
    for path in tracked_files(root):
        try:
            text = (root / path).read_text("utf-8")
        except (UnicodeDecodeError, FileNotFoundError):  # a binary file, or one that is deleted but not yet committed
            continue
        lines = text.splitlines()
        found += [
            f"{path}:{hit.line}: {hit.word.text} -> use {hit.word.replacement}"
            for hit in search(text, words)
            if not is_allowed(path, lines[hit.line - 1], hit.word)
        ]
    return found


def main() -> int:
    """Print what is wrong; return the exit code."""
    found = check(ROOT, read_words())
    for message in found:
        print(message)
    if found:
        print(f"{len(found)} words that the language rules exclude (scripts/checks/wording.txt)", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
