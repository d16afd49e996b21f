"""The lists that this project wrote, and the tables as they are written."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from scripts.lexicon import tables, translations
from streams.segments.translation import Term


@pytest.mark.parametrize("name", ["polish.tsv", "english_extra.tsv"])
def test_a_list_is_sorted_and_names_each_term_once(name: str) -> None:
    lines = Path(tables.__file__).with_name(name).read_text("utf-8").splitlines()
    terms = [line.split("\t")[0] for line in lines if not line.startswith("#")]
    assert terms == sorted(set(terms))


def test_every_row_of_everyday_words_has_all_languages() -> None:
    lines = Path(tables.__file__).with_name("everyday.tsv").read_text("utf-8").splitlines()
    assert {line.count("\t") for line in lines if not line.startswith("#")} == {3}


def test_most_polish_terms_name_something_visible() -> None:
    terms = tables.polish_terms()
    assert len(terms) > 1900
    assert all(english.isascii() for english in terms.values())
    visible = sum(Term(english, polish, "table").thing is not None for polish, english in terms.items())
    assert visible / len(terms) > 0.9  # the others are colours, looks and people by what they like


def test_a_table_holds_terms_and_their_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forms = [("psy", "pies"), ("psem", "pies"), ("koty", "kot")]
    monkeypatch.setattr(translations, "forms", lambda lemmas, language: (row for row in forms if row[1] in lemmas))
    tables._write_terms({"pies": "dog", "duży pies": "big dog"}, "pl", tmp_path)
    written = gzip.decompress((tmp_path / "pl.tsv.gz").read_bytes()).decode()
    assert written == "duży pies\tbig dog\npies\tdog\n\npsem\tpies\npsy\tpies"


def test_names_of_feelings_and_signs_are_no_things() -> None:
    assert translations._UNNATURAL.search("smiling face")
    assert not translations._UNNATURAL.search("surface")
