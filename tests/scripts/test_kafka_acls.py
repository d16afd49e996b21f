"""The rights of Kafka users, as scripts/kafka_acls.py derives them from the table and the settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.kafka_acls import rights, roles
from streams.kafka.topics import expected_topics
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
OTHER_NAMES = Settings.model_validate(
    {"topics": {"segment_updated": "prod.segments", "dead_suffix": ".dlq"}, "kafka": {"group": "ads"}}
)


def allowed(role: str, settings: Settings = OTHER_NAMES) -> dict[str, set[str]]:
    return {f"{right.resource} {right.name}": set(right.operations) for right in rights(role, "user", settings)}


def test_names_come_from_the_settings() -> None:
    found = allowed("render-worker")
    assert found["topic prod.segments"] == {"read", "describe"}
    assert found["topic prod.segments.dlq"] == {"write", "describe"}
    assert found["group ads-render"] == {"read", "describe"}
    assert not any("segment-updated" in name for name in found)


@pytest.mark.parametrize("role", sorted(roles() - {"consumer"}))
def test_every_role_but_a_consumer_describes_every_topic(role: str) -> None:
    found = allowed(role)
    assert all("describe" in found[f"topic {spec.name}"] for spec in expected_topics(OTHER_NAMES))


def test_a_worker_of_both_roles_has_the_rights_of_both_and_one_group() -> None:
    both = allowed("worker")
    for role in ("render-worker", "train-worker"):
        topics = {name: operations for name, operations in allowed(role).items() if name.startswith("topic")}
        assert all(operations <= both[name] for name, operations in topics.items())
    assert both["group ads"] == {"read", "describe"}
    assert not any(name in both for name in ("group ads-render", "group ads-train"))


def test_the_groups_of_a_consumer_start_with_its_name() -> None:
    [group] = [right for right in rights("consumer", "scheduler", OTHER_NAMES) if right.resource == "group"]
    assert (group.name, group.prefixed) == ("scheduler", True)
    assert group.command("k:9092").endswith("--group scheduler --resource-pattern-type prefixed")


@pytest.mark.parametrize(("argument", "code"), [("emitter=analytics", 0), ("emitter", 2), ("nobody=x", 2)])
def test_the_script_prints_commands(argument: str, code: int) -> None:
    command = [sys.executable, ROOT / "scripts" / "kafka_acls.py", argument]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    if code == 0:
        first = "kafka-acls.sh --bootstrap-server embedded --add --allow-principal User:analytics --operation Write"
        assert done.stdout.startswith(f"{first} --operation Describe --topic segment-updated\n")
