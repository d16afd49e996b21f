"""docker-compose.yml and Dockerfile agree with the settings. No test starts Docker."""

import json
import re
from pathlib import Path

import pytest
import yaml

from streams.products.photo_keys import PHOTOS
from streams.settings import Settings
from streams.store.keys import PARKED

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def variables(compose):
    for service in compose["services"].values():
        yield from (name for name in service.get("environment", {}) if name.startswith("CREATIVES_"))
    yield from re.findall(r"CREATIVES_\w+", (ROOT / "Dockerfile").read_text())


def test_every_variable_is_a_setting(compose, monkeypatch):
    for variable in set(variables(compose)):
        group, _, name = variable.removeprefix("CREATIVES_").lower().partition("__")
        field = Settings.model_fields[group]
        assert name in field.annotation.model_fields, variable


def test_ports_are_bound_to_loopback_and_images_pinned(compose):
    for name, service in compose["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        image = service["image"]
        assert ":" in image.rpartition("/")[2], name
        assert not image.endswith(":latest"), name


def test_every_server_has_a_health_check_and_its_own_volume(compose):
    for name in ("kafka", "minio", "seaweedfs"):
        assert "healthcheck" in compose["services"][name]
        assert compose["services"][name]["volumes"][0].split(":")[0] in compose["volumes"]
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_dependencies_exist_and_the_worker_waits_for_its_topics(compose):
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])
    assert compose["services"]["worker"]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_credentials_equal_the_defaults_of_the_settings(compose):
    storage = Settings().storage
    minio = compose["services"]["minio"]["environment"]
    assert minio["MINIO_ROOT_USER"].endswith(f":-{storage.access_key.get_secret_value()}}}")
    assert minio["MINIO_ROOT_PASSWORD"].endswith(f":-{storage.secret_key.get_secret_value()}}}")


def test_the_worker_has_enough_time_to_drain(compose):
    grace = int(compose["services"]["worker"]["stop_grace_period"].rstrip("s"))
    assert grace > Settings().delivery.drain + 10


def test_the_image_runs_as_a_user_and_dockerignore_admits_every_copied_file():
    text = (ROOT / "Dockerfile").read_text()
    assert "\nUSER creatives\n" in text
    assert text.count("--require-hashes") == 2
    allowed = (ROOT / ".dockerignore").read_text()
    for copied in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE):
        for name in copied.split():
            assert f"!{name.split('/')[0]}" in allowed, name


def test_the_policies_name_the_prefixes_of_the_keys():
    known = {"creatives/*", "concepts/*", "checkpoints/*", f"{PARKED}*", f"{PHOTOS}*", "doctor/*"}
    bucket = f"arn:aws:s3:::{Settings().storage.bucket}"
    for path in (ROOT / "deploy" / "policies" / "minio").glob("*.json"):
        for statement in json.loads(path.read_text())["Statement"]:
            for resource in statement["Resource"]:
                assert resource == bucket or resource.removeprefix(f"{bucket}/") in known, path
                assert "*" not in "".join(statement["Action"]), path


def test_the_health_check_starts_without_the_containers_secrets():
    """Its processes run as the user of the device process, which may read their environment."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "install -m 0711 /usr/bin/env /usr/local/bin/hidden-env" in dockerfile
    assert 'CMD ["hidden-env", "-i", "/opt/creatives/bin/python", "-c",' in dockerfile
