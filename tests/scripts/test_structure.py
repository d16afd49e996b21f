"""scripts/checks/structure.py: each rule on a small tree that breaks it."""

import pytest

from scripts.checks import structure


@pytest.fixture
def tree(tmp_path):
    """Write modules below a root whose packages have docstrings; return the root."""

    def write(files):
        for package in structure.PACKAGES:
            (tmp_path / package).mkdir(exist_ok=True)
            (tmp_path / package / "__init__.py").write_text('"""A package."""\n')
        for name, text in files.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def messages(root):
    return [*structure.sizes(root), *structure.cycles(structure.import_graph(root)), *structure.docstrings(root)]


def test_a_clean_tree_has_no_messages(tree):
    root = tree({"models/a": "from models import b\n", "models/b": "x = 1\n", "streams/c": "import models.a\n"})
    assert messages(root) == []


def test_a_module_above_the_limit_is_reported(tree):
    root = tree(
        {
            "models/long": "x = 1\n" * 261,
            "models/just": "x = 1\n" * 260,
            "models/a": "\n",
            "models/b": "\n",
            "models/c": "\n",
        }
    )
    assert list(structure.sizes(root)) == ["models/long.py: 261 lines, at most 260"]


def test_a_median_above_the_limit_is_reported_and_packages_do_not_count(tree):
    root = tree({"models/a": "x = 1\n" * 111, "models/b": "x = 1\n" * 111})
    assert list(structure.sizes(root)) == ["the median module has 111 lines, at most 110"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("from models import b", "from models import a"),
        ("import models.b", "def f():\n    from models.a import name"),
        ("from models.b import name", "def f():\n    import models.a as other"),
        ("from . import b", "from .a import name"),
        ("def f():\n    from models.b import name", "class C:\n    from models import a"),
    ],
)
def test_a_cycle_is_reported_even_inside_functions(tree, first, second):
    [message] = structure.cycles(structure.import_graph(tree({"models/a": first, "models/b": second})))
    assert message in {
        "import cycle: models.a -> models.b -> models.a",
        "import cycle: models.b -> models.a -> models.b",
    }


def test_a_cycle_of_three_is_named_in_the_direction_of_its_imports(tree):
    root = tree({"models/a": "import models.b", "models/b": "import streams.c", "streams/c": "import models.a"})
    [message] = structure.cycles(structure.import_graph(root))
    assert "models.a -> models.b" in message or "models.b -> streams.c" in message


def test_every_cycle_is_reported(tree):
    root = tree(
        {
            "models/a": "import models.b",
            "models/b": "import models.a",
            "streams/c": "import streams.d",
            "streams/d": "import streams.c",
        }
    )
    assert len(list(structure.cycles(structure.import_graph(root)))) == 2


def test_imports_for_type_checking_do_not_count_but_those_of_its_else_do(tree):
    hidden = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from models import b\n"
    root = tree({"models/a": hidden, "models/b": "import models.a"})
    assert list(structure.cycles(structure.import_graph(root))) == []
    (root / "models" / "a.py").write_text(f"{hidden}else:\n    from models import b\n")
    assert len(list(structure.cycles(structure.import_graph(root)))) == 1


def test_a_module_may_import_from_its_package_and_itself(tree):
    root = tree(
        {
            "models/sub/a": "from models.sub import VERSION\nimport models.sub.a\n",
            "models/sub/__init__": '"""A package."""\n',
        }
    )
    assert messages(root) == []


def test_relative_imports_climb_to_the_parent_package(tree):
    root = tree({"models/sub/a": "from ..b import name", "models/sub/__init__": '"""A package."""\n', "models/b": ""})
    assert structure.import_graph(root)["models.sub.a"] == {"models.b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "models/sub: __init__.py is missing"),
        ("", "models/sub/__init__.py: the package has no docstring"),
        ("# a comment", "models/sub/__init__.py: the package has no docstring"),
    ],
)
def test_every_folder_of_modules_is_a_package_with_a_docstring(tree, text, message):
    files = {"models/sub/a": "x = 1\n"} | ({} if text is None else {"models/sub/__init__": text})
    assert list(structure.docstrings(tree(files))) == [message]


def test_a_test_mirrors_a_module_or_a_package(tree):
    root = tree({"models/a": "", "models/sub/b": "", "models/sub/__init__": '"""A package."""\n'})
    for name in ("models/test_a", "models/test_sub", "models/sub/test_b", "scripts/test_else"):
        path = root / "tests" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert list(structure.mirror(root)) == []


def test_a_test_without_a_subject_is_reported_unless_it_is_listed(tree, monkeypatch):
    root = tree({"models/a": ""})
    path = root / "tests" / "models" / "test_other.py"
    path.parent.mkdir(parents=True)
    path.touch()
    [message] = structure.mirror(root)
    assert message.startswith("tests/models/test_other.py: there is no models/other.py")
    monkeypatch.setattr(structure, "CROSS_CUTTING", {"tests/models/test_other.py": "reason"})
    assert list(structure.mirror(root)) == []
    assert list(structure.stale_exceptions(root)) == []
    path.unlink()
    assert list(structure.stale_exceptions(root)) == [
        "tests/models/test_other.py does not exist: remove it from CROSS_CUTTING"
    ]


def test_the_exit_code_is_1_if_a_rule_is_broken(tree, monkeypatch, capsys):
    monkeypatch.setattr(structure, "CROSS_CUTTING", {})
    monkeypatch.setattr(structure, "ROOT", tree({"models/a": "x = 1\n"}))
    assert structure.main() == 0
    monkeypatch.setattr(structure, "ROOT", tree({"models/a": "import models.b", "models/b": "import models.a"}))
    assert structure.main() == 1
    assert "import cycle" in capsys.readouterr().out
