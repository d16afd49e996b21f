#!/usr/bin/env python3
"""Give Kafka users the rights of their role, from the table deploy/policies/kafka/acls.tsv.

    scripts/kafka_acls.py render-worker=renderer emitter=analytics             print the commands of kafka-acls.sh
    scripts/kafka_acls.py render-worker=renderer emitter=analytics --apply     create the rights on the broker

Each argument is ROLE=USER. Roles: emitter, render-worker, train-worker, worker (one process for both), consumer and
operator. Names of topics and groups, the broker and its security come from CREATIVES_KAFKA__* and CREATIVES_TOPICS__*;
with --apply the user in CREATIVES_KAFKA__USERNAME needs Alter on the cluster. Rights that exist already stay.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from confluent_kafka.admin import (  # noqa: E402
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from streams.kafka.topics import dead_letter_topic, expected_topics  # noqa: E402
from streams.settings import KafkaSettings, Settings  # noqa: E402

TABLE = ROOT / "deploy" / "policies" / "kafka" / "acls.tsv"
BOTH = ("render-worker", "train-worker")  # the roles of a `worker`


@dataclass(frozen=True)
class Right:
    """What a user may do with one topic or group. prefixed: with all whose names start with `name`."""

    user: str
    resource: str
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False

    def command(self, servers: str) -> str:
        """Return the command of kafka-acls.sh."""
        words = ["kafka-acls.sh", "--bootstrap-server", servers, "--add", "--allow-principal", f"User:{self.user}"]
        words += [word for operation in self.operations for word in ("--operation", operation.capitalize())]
        words += [f"--{self.resource}", self.name]
        return shlex.join(words + ["--resource-pattern-type", "prefixed"] * self.prefixed)

    def bindings(self) -> Iterator[AclBinding]:
        """Yield one binding per operation."""
        pattern = ResourcePatternType.PREFIXED if self.prefixed else ResourcePatternType.LITERAL
        for operation in self.operations:
            yield AclBinding(
                ResourceType[self.resource.upper()],
                self.name,
                pattern,
                f"User:{self.user}",
                "*",
                AclOperation[operation.upper()],
                AclPermissionType.ALLOW,
            )


def roles() -> set[str]:
    """Return the names of all roles."""
    return {row["role"] for row in _rows()} | {"worker"}


def rights(role: str, user: str, settings: Settings) -> list[Right]:
    """Return the rights of one user, with the names of the settings."""
    rows = [row for row in _rows() if row["role"] == role or (role == "worker" and row["role"] in BOTH)]
    found: dict[tuple[str, str], Right] = {}
    for row in rows:
        prefixed = row["resource"] == "group" and row["name"] == "consumer"
        for name in _names(row, role, user, settings):
            place = row["resource"], name
            earlier = found[place].operations if place in found else ()
            operations = tuple(dict.fromkeys((*earlier, *row["operations"].split(","))))
            found[place] = Right(user, *place, operations, prefixed)
    return list(found.values())


def _names(row: dict[str, str], role: str, user: str, settings: Settings) -> list[str]:
    """Return the names of topics or groups that a row of the table means."""
    if row["resource"] == "group":
        return [_group(row["name"], role, user, settings)]
    if row["name"] != "others":
        return [_topic(row["name"], settings)]
    named = {_topic(other["name"], settings) for other in _rows() if _names_a_topic(other, row["role"])}
    return [spec.name for spec in expected_topics(settings) if spec.name not in named]


def _names_a_topic(row: dict[str, str], role: str) -> bool:
    return row["role"] == role and row["resource"] == "topic" and row["name"] != "others"


def _rows() -> list[dict[str, str]]:
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _topic(name: str, settings: Settings) -> str:
    """Return the topic of a setting's name; `.dead` after it is its dead-letter topic."""
    setting, _, dead = name.partition(".")
    topic: str = getattr(settings.topics, setting)
    return dead_letter_topic(settings.topics, topic) if dead else topic


def _group(name: str, role: str, user: str, settings: Settings) -> str:
    """Return the consumer group of a role. The groups of other consumers start with their user's name."""
    if name == "consumer":
        return user
    return settings.kafka.group if role == "worker" else f"{settings.kafka.group}-{name}"


def apply(wanted: list[Right], kafka: KafkaSettings) -> None:
    """Create the rights on the broker. Raises KafkaException."""
    options = {"bootstrap.servers": kafka.bootstrap_servers, "security.protocol": kafka.security_protocol}
    if kafka.sasl_mechanism and kafka.username and kafka.password:
        options |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.username,
            "sasl.password": kafka.password.get_secret_value(),
        }
    files = {"ca": kafka.ca_file, "certificate": kafka.certificate_file, "key": kafka.key_file}
    options |= {f"ssl.{name}.location": path for name, path in files.items() if path}
    bindings = [binding for right in wanted for binding in right.bindings()]
    client = AdminClient(options)  # a name of its own: without one, it would be deleted before its answers arrive
    for future in client.create_acls(bindings, request_timeout=30).values():
        future.result()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("users", nargs="+", metavar="ROLE=USER")
    parser.add_argument("--apply", action="store_true", help="create the rights instead of printing the commands")
    options = parser.parse_args()
    settings = Settings()
    wanted: list[Right] = []
    for argument in options.users:
        role, _, user = argument.partition("=")
        if role not in roles() or not user:
            parser.error(f"{argument!r} is not ROLE=USER with a role of {', '.join(sorted(roles()))}")
        wanted += rights(role, user, settings)
    if options.apply:
        apply(wanted, settings.kafka)
        print(f"{len(wanted)} rights exist on {settings.kafka.bootstrap_servers}")
    else:
        print("\n".join(right.command(settings.kafka.bootstrap_servers) for right in wanted))
    return 0


if __name__ == "__main__":
    sys.exit(main())
