from click.testing import CliRunner

from streams.cli.main import cli
from streams.cli.training_folder import write_training_job


def test_a_product_that_was_never_trained_is_refused(tmp_path):
    result = CliRunner().invoke(cli, ["evaluate", "jam", "--out", str(tmp_path / "nothing")])
    assert result.exit_code == 2
    assert "creatives train" in result.output


def test_an_unfinished_training_is_refused(tmp_path):
    fields = {"product_id": "jam", "class_noun": "jar", "method": "dreambooth", "placeholder_token": "sks", "seed": 0}
    write_training_job(tmp_path, (b"photo",), fields)
    result = CliRunner().invoke(cli, ["evaluate", "jam", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds no concept" in result.output
