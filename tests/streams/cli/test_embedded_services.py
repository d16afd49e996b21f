import pytest

from streams.cli.embedded_services import write_env_file


def test_an_env_file_that_cannot_be_written_leaves_no_file(tmp_path):
    with pytest.raises(OSError):
        write_env_file(tmp_path / "missing" / "file", {"A": "1"})
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        write_env_file(tmp_path / "taken", {"A": "1"})
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
