"""scripts/checks/wording.py: which words it finds, and where it does not look."""

import subprocess

import pytest

from scripts.checks import wording
from scripts.checks.wording import Word, read_words, search

FIX = Word("mend", "fix")
PHRASE = Word("a word to it", "cleanly")


def found(text, *words):
    return [(hit.line, hit.word.text) for hit in search(text, list(words or (FIX, PHRASE)))]


@pytest.mark.parametrize(
    "text",
    [
        "mend the topic",
        "Mend it",
        "def mend_topic():",
        "class MendTopics:",
        "HTTPMend",
        "MEND = 1",
        "`mend`",
        "mend,",
        "_mend",
    ],
)
def test_a_word_is_found_in_prose_and_in_identifiers(text):
    assert found(text) == [(1, "mend")]


@pytest.mark.parametrize("text", ["recommend", "amendment", "mendable", "commends", "men_d", "mén mendé"])
def test_parts_of_other_words_are_not_found(text):
    assert found(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "left without a word to it",
        "left without a\nword to it",
        "# left without a\n    # word   to it",
        "> a\n> word to it",
    ],
)
def test_a_phrase_is_found_across_line_breaks_and_comment_signs(text):
    assert found(text) == [(1, "a word to it")]


def test_each_word_has_its_own_line_number():
    assert found("one\nmend\n\nMendMend\n") == [(2, "mend"), (4, "mend"), (4, "mend")]


def test_the_longer_of_two_phrases_is_reported():
    assert found("be had at once", Word("be had", "be available"), Word("be had at once", "now")) == [
        (1, "be had at once")
    ]


def test_the_list_is_read_with_all_forms_of_a_word(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# comment\n\nmend, mends -> fix\nbe had -> be available\n")
    assert read_words(path) == [Word("mend", "fix"), Word("mends", "fix"), Word("be had", "be available")]


@pytest.mark.parametrize("line", ["mend", "mend ->", "mend -> ", "mend fix"])
def test_a_line_of_the_list_without_a_replacement_is_an_error(tmp_path, line):
    path = tmp_path / "words.txt"
    path.write_text(f"anew -> again\n{line}\n")
    with pytest.raises(ValueError, match=r"words\.txt:2"):
        read_words(path)


def test_the_shipped_list_is_valid_and_names_each_word_once():
    words = [word.text for word in read_words()]
    assert len(words) == len(set(words)) > 50
    assert all(word == word.lower() for word in words)


@pytest.fixture
def repository(tmp_path):
    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, "utf-8")
        subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
        return tmp_path

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return write


def test_tracked_code_and_docs_are_searched(repository):
    names = ("streams/a.py", "docs/a.md", "a/b.html", "compose.yml", "Makefile", "scripts/run", "Dockerfile", ".ci/run")
    root = repository(dict.fromkeys(names, "line\nmend\n"))
    (root / "untracked.py").write_text("mend")
    assert sorted(wording.check(root, [FIX])) == sorted(f"{name}:2: mend -> use fix" for name in names)


def test_data_binary_and_exempt_files_are_not_searched(repository):
    root = repository(
        {"streams/words.tsv": "mend", "scripts/checks/wording.txt": "mend", "scripts/demo_family/x.py": "mend"}
    )
    (root / "scripts" / "binary").write_bytes(b"\xff mend")
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    assert wording.check(root, [FIX]) == []


def test_a_deleted_file_that_git_still_tracks_is_skipped(repository):
    root = repository({"a.py": "mend"})
    (root / "a.py").unlink()
    assert wording.check(root, [FIX]) == []


def test_the_changelog_may_name_an_old_word_beside_its_new_one(repository):
    root = repository({"CHANGELOG.md": "- `mend` -> `fix`\n- mend\n", "docs/a.md": "- `mend` -> `fix`\n"})
    assert wording.check(root, [FIX]) == ["CHANGELOG.md:2: mend -> use fix", "docs/a.md:1: mend -> use fix"]


def test_a_file_may_contain_the_words_that_are_allowed_there_and_no_others(repository, monkeypatch):
    monkeypatch.setattr(wording, "ALLOWED", {("a.py", "mend"): "reason"})
    root = repository({"a.py": "mend\nanew\n", "b.py": "mend\n"})
    assert wording.check(root, [FIX, Word("anew", "again")]) == ["a.py:2: anew -> use again", "b.py:1: mend -> use fix"]


def test_the_exit_code_is_1_if_a_word_was_found(repository, monkeypatch, capsys):
    monkeypatch.setattr(wording, "ROOT", repository({"a.py": "anew"}))
    assert wording.main() == 1
    assert capsys.readouterr().out.startswith("a.py:1: anew -> use ")
    monkeypatch.setattr(wording, "ROOT", repository({"a.py": "again"}))
    assert wording.main() == 0
