from click.testing import CliRunner

from streams.cli.main import cli


def test_doctor_names_broken_services():
    env = {"CREATIVES_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "CREATIVES_STORAGE__ENDPOINT": "http://127.0.0.1:1"}
    result = CliRunner().invoke(cli, ["doctor", "--no-models"], env=env)
    assert result.exit_code == 1
    assert "BROKEN  broker" in result.output
    assert "BROKEN  store" in result.output
    assert "Not working: broker, store." in result.output


def test_doctor_names_a_missing_signing_key_and_never_prints_one():
    env = {"CREATIVES_STORAGE__ENDPOINT": "http://127.0.0.1:1"}
    result = CliRunner().invoke(cli, ["doctor", "--no-models"], env=env | {"CREATIVES_STORAGE__SIGNING_KEYS": None})
    assert "BROKEN  store     No signing key is set. Set CREATIVES_STORAGE__SIGNING_KEYS" in result.output
    result = CliRunner().invoke(
        cli, ["doctor", "--no-models"], env=env | {"CREATIVES_STORAGE__SIGNING_KEYS": "hunter2"}
    )
    assert result.exit_code == 2
    assert "CREATIVES_STORAGE__SIGNING_KEYS: must be random text of 32 characters or more" in result.output
    assert "hunter2" not in result.output


def test_a_broken_device_is_reported_once():
    result = CliRunner().invoke(cli, ["doctor"], env={"CREATIVES_STUDIO__DEVICE": "cuda:99"})
    assert result.exit_code == 1
    assert "BROKEN  device    The device cuda:99 cannot be used: " in result.output
    assert "Choose another with CREATIVES_STUDIO__DEVICE" in result.output
    assert "models" not in result.output
    assert "Not working: device." in result.output
