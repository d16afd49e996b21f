"""The digest of the word tables."""

from __future__ import annotations

from streams.segments import lexicon


def test_the_digest_is_short_and_stable() -> None:
    first = lexicon.digest()
    lexicon.digest.cache_clear()
    assert lexicon.digest() == first
    assert len(first) == 12
