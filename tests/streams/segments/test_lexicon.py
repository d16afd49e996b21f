"""The digest of the word tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.segments import lexicon


def test_the_digest_covers_every_table_and_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexicon, "files", lambda _: tmp_path)
    digest = lexicon.digest.__wrapped__  # not cached
    (tmp_path / "terms").mkdir()
    (tmp_path / "code.py").touch()
    seen = [digest()]
    for table in ("english.tsv", "words.toml", "terms/pl.tsv.gz", "terms/de.tsv.gz"):
        (tmp_path / table).write_text(table)
        seen.append(digest())
    assert len(set(seen)) == len(seen)
    (tmp_path / "code.py").write_text("x = 1")
    assert digest() == seen[-1]
    assert len(seen[-1]) == 12
