"""A real Kafka that knows its users and what each may do: SASL/PLAIN and KRaft's StandardAuthorizer, on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streams.settings import Settings
from tests.faults.cluster import _run, kafka_jars
from tests.faults.nodes import Node, free_port, kafka_listens

ADMIN = "admin"
_CLUSTER = "c2VjdXJlZC1icm9rZXItMQ"


def password_of(user: str) -> str:
    return f"{user}-password"


@dataclass(frozen=True)
class SecuredBroker:
    """One broker and controller. users: besides ADMIN, who may do everything."""

    folder: Path
    users: tuple[str, ...]
    port: int
    controller: int

    @classmethod
    def start(cls, folder: Path, users: tuple[str, ...]) -> tuple[SecuredBroker, Node]:
        """Start the broker. Return it once it listens, with its process."""
        broker = cls(folder, users, free_port(), free_port())
        properties = folder / "server.properties"
        properties.write_text("\n".join(broker._properties()) + "\n")
        classpath = ("-cp", f"{kafka_jars()}/*")
        _run(["java", *classpath, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(properties)])
        java = shutil.which("java") or "java"
        argv = (java, "-Xmx256m", "-XX:+UseSerialGC", *classpath, "kafka.Kafka", str(properties))
        node = Node("secured", folder, broker.port, argv, {}, kafka_listens)
        node.start()
        node.wait()
        return broker, node

    def kafka(self, user: str, group: str = "creatives") -> dict[str, str]:
        """Return the settings of a user, as environment variables."""
        return {
            "CREATIVES_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{self.port}",
            "CREATIVES_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "CREATIVES_KAFKA__SASL_MECHANISM": "PLAIN",
            "CREATIVES_KAFKA__USERNAME": user,
            "CREATIVES_KAFKA__PASSWORD": password_of(user),
            "CREATIVES_KAFKA__GROUP": group,
        }

    def settings(self, user: str) -> Settings:
        """Return the settings of a user."""
        names = (name.removeprefix("CREATIVES_KAFKA__").lower() for name in self.kafka(user))
        return Settings.model_validate({"kafka": dict(zip(names, self.kafka(user).values(), strict=True))})

    def _properties(self) -> Iterator[str]:
        yield "process.roles=broker,controller"
        yield "node.id=1"
        yield f"controller.quorum.voters=1@127.0.0.1:{self.controller}"
        yield f"listeners=CLIENTS://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller}"
        yield f"advertised.listeners=CLIENTS://127.0.0.1:{self.port}"
        yield "listener.security.protocol.map=CLIENTS:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT"
        yield "controller.listener.names=CONTROLLER"
        yield "inter.broker.listener.name=CLIENTS"
        yield "sasl.enabled.mechanisms=PLAIN"
        yield "sasl.mechanism.inter.broker.protocol=PLAIN"
        yield "sasl.mechanism.controller.protocol=PLAIN"
        known = " ".join(f'user_{user}="{password_of(user)}"' for user in (ADMIN, *self.users))
        login = f'username="{ADMIN}" password="{password_of(ADMIN)}" {known}'
        for listener in ("clients", "controller"):
            module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
            yield f"listener.name.{listener}.plain.sasl.jaas.config={module} {login};"
        yield "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        yield f"super.users=User:{ADMIN}"
        yield f"log.dirs={self.folder / 'data'}"
        yield "offsets.topic.replication.factor=1"
        yield "transaction.state.log.replication.factor=1"
        yield "transaction.state.log.min.isr=1"
        yield "offsets.topic.num.partitions=1"
        yield "group.initial.rebalance.delay.ms=0"
        yield "auto.create.topics.enable=false"
