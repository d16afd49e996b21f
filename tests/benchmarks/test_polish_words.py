"""The benchmark of the Polish table, on two nouns."""

from __future__ import annotations

import pytest

from benchmarks import polish_words


def test_it_counts_translated_forms(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(polish_words, "nouns", lambda: ["kawa", "pies"])
    monkeypatch.setattr(polish_words, "forms", lambda nouns: {"kawa": {"kawa", "kawę"}, "pies": {"pies", "piesełek"}})
    polish_words.main()
    printed = capsys.readouterr().out
    assert "1 (50.0%) translated in every form" in printed
    assert "4 forms; 3 (75.00%) translated" in printed
    assert "missing: piesełek" in printed
