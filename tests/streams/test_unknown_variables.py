"""Variables that look like settings and are none."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from streams.cli.main import cli
from streams.settings import Settings
from streams.unknown_variables import UnknownSettings, unknown_variables


def found(**environ: str) -> dict[str, str | None]:
    return {variable.name: variable.setting for variable in unknown_variables(environ, Settings)}


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("CREATIVES_KAFKA_GROUP", "CREATIVES_KAFKA__GROUP"),
        ("CREATIVES__KAFKA__GROUP", "CREATIVES_KAFKA__GROUP"),
        ("CREATIVES_TRAINING_DREAMBOOTH_STEPS", "CREATIVES_TRAINING__DREAMBOOTH__STEPS"),
        ("CREATIVES_STORGE__BUCKET", "CREATIVES_STORAGE__BUCKET"),
        ("CREATIVES_BOOTSTRAP_SERVERS", "CREATIVES_KAFKA__BOOTSTRAP_SERVERS"),
        ("CREATIVES_KAFKA__PASSWROD", "CREATIVES_KAFKA__PASSWORD"),
        ("CREATIVE_KAFKA__GROUP", "CREATIVES_KAFKA__GROUP"),
        ("CREATVIES_STORAGE_BUCKET", "CREATIVES_STORAGE__BUCKET"),
        ("creative_role", "CREATIVES_ROLE"),
        ("CREATIVES_XYZ", None),
    ],
)
def test_a_misspelt_variable_is_found_with_the_nearest_setting(name: str, setting: str | None) -> None:
    assert found(**{name: "x"}) == {name: setting}


def test_settings_groups_and_other_programs_variables_pass() -> None:
    names = ["CREATIVES_ROLE", "creatives_kafka__group", "CREATIVES_KAFKA", "CREATIVES_ALLOW_UNKNOWN"]
    names += ["CREATIVES_TRAINING__DREAMBOOTH", "CREATIVES_TRAINING__DREAMBOOTH__STEPS"]
    others = ["CREATIVE_CLOUD_HOME", "CREATIVE_SUITE_ROLE", "PATH", "KAFKA__GROUP", "CREATIVITY"]
    assert found(**dict.fromkeys(names + others, "x")) == {}


def test_service_links_of_kubernetes_and_docker_pass() -> None:
    links = {
        "CREATIVES_SERVICE_HOST": "10.0.0.1",
        "CREATIVES_SERVICE_PORT_HTTP": "6066",
        "CREATIVES_PORT": "tcp://10.0.0.1:6066",
        "CREATIVES_WEB_PORT": "tcp://10.0.0.1:6066",
        "CREATIVES_PORT_6066_TCP_ADDR": "10.0.0.1",
    }
    assert found(**links) == {}
    assert found(CREATIVES_WEB_PORT="6066") == {"CREATIVES_WEB_PORT": "CREATIVES_WEB__PORT"}


def test_settings_are_refused_or_read_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREATIVES_KAFKA__GRUOP", "one")
    monkeypatch.setenv("CREATIVES_KAFKA__GROUP", "two")
    with pytest.raises(UnknownSettings, match="CREATIVES_KAFKA__GRUOP: there is no such setting"):
        Settings()
    monkeypatch.setenv("CREATIVES_ALLOW_UNKNOWN", "1")
    assert Settings().kafka.group == "two"


@pytest.mark.parametrize(("allow", "exit_code"), [(None, 2), ("0", 2), ("1", 1)])
def test_a_command_names_the_variable_and_not_its_value(allow: str | None, exit_code: int) -> None:
    env = {"CREATIVE_KAFKA__PASSWORD": "hunter2", "CREATIVES_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    result = CliRunner().invoke(cli, ["topics"], env=env | {"CREATIVES_ALLOW_UNKNOWN": allow})
    assert result.exit_code == exit_code
    assert (
        "CREATIVE_KAFKA__PASSWORD: there is no such setting (did you mean CREATIVES_KAFKA__PASSWORD?)" in result.output
    )
    assert ("Warning: " in result.output) == (allow == "1")
    assert "hunter2" not in result.output
