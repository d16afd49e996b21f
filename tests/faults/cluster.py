"""A real Apache Kafka and a real MinIO on loopback, without Docker; `scripts/services` is the command line.

The first start needs Java 17, Maven and Go; it caches Kafka's jars and the MinIO server by version.
This module imports only the standard library: it runs before anything is installed.
All state lies in the cluster's folder, so any process can stop, kill, pause or restart a node by its name.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.nodes import Node, ServicesFailed, free_port, kafka_answers, minio_answers

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fluence-creatives"
MINIO = "v0.0.0-20260212201848-7aac2a2c5b7c"  # the last commit of the archived open-source server
ACCESS_KEY, SECRET_KEY, BUCKET = "creatives", "creatives-secret", "creatives"
SIGNING_KEY = "signs-the-objects-of-every-test-cluster"  # the same in every run: nodes keep their data


def kafka_jars() -> Path:
    """Return the folder of Kafka's jars. The first call fetches them (43 MB) with Maven."""
    pom = ROOT / "scripts" / "pom.xml"
    version = re.search(r"<kafka.version>(.+?)</kafka.version>", pom.read_text())
    assert version
    folder = CACHE / "kafka" / version[1]
    if not (folder / "complete").exists():
        _need("mvn", "Maven fetches Kafka's jars")
        _need("java", "Kafka needs Java 17 or newer")
        arguments = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        _run(["mvn", "-q", "-B", "-f", str(pom), *arguments])
        (folder / "complete").touch()
    return folder


def minio_server() -> Path:
    """Return the MinIO server. The first call builds it with Go (5 minutes on two cores)."""
    folder = CACHE / "minio" / MINIO
    if not (folder / "minio").exists():
        _need("go", "Go builds MinIO")
        folder.mkdir(parents=True, exist_ok=True)
        building = folder / f"building-{os.getpid()}"
        _run(["go", "install", f"github.com/minio/minio@{MINIO}"], {"GOBIN": str(building)})
        (building / "minio").rename(folder / "minio")
        building.rmdir()
    return folder / "minio"


def _need(program: str, why: str) -> None:
    if not shutil.which(program):
        raise ServicesFailed(f"{program} is not installed: {why}. Or use `docker compose up` instead.")


def _run(command: list[str], environ: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env={**os.environ, **(environ or {})}, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ServicesFailed(f"`{' '.join(command[:3])} ...` failed:\n{(done.stderr or done.stdout)[-2000:]}")


@dataclass(frozen=True)
class Cluster:
    """One or three brokers and one object store.

    kafka: the (listener, controller) ports of each broker. proxied: for each broker the port of a second listener and
    the port that it advertises, for a fault proxy in between; empty without proxies.
    """

    folder: Path
    kafka: tuple[tuple[int, int], ...]
    minio: int
    proxied: tuple[tuple[int, int], ...] = ()

    @classmethod
    def plan(cls, folder: Path, brokers: int = 1, kafka: int | None = None, minio: int | None = None) -> Cluster:
        """Return the cluster of `folder`, or plan a new one there.

        kafka, minio: the first ports. None takes free ports, and adds second listeners for fault proxies.
        """
        if (folder / "ports.json").exists():
            return cls.open(folder)
        pairs = [(kafka + 2 * n, kafka + 2 * n + 1) if kafka else (free_port(), free_port()) for n in range(brokers)]
        proxied = [] if kafka else [(free_port(), free_port()) for _ in range(brokers)]
        folder.mkdir(parents=True, exist_ok=True)
        ports = {"kafka": pairs, "minio": minio or free_port(), "proxied": proxied}
        (folder / "ports.json").write_text(json.dumps(ports))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Cluster:
        """Return the cluster that was planned in `folder`."""
        try:
            ports = json.loads((folder / "ports.json").read_text())
        except FileNotFoundError:
            raise ServicesFailed(f"no services in {folder}: run `scripts/services up` first.") from None
        pairs = {name: tuple((one, other) for one, other in ports.get(name, ())) for name in ("kafka", "proxied")}
        return cls(folder.resolve(), pairs["kafka"], ports["minio"], pairs["proxied"])

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{listener}" for listener, _ in self.kafka)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.minio}"

    def environ(self) -> dict[str, str]:
        """Return the settings that reach this cluster, as environment variables."""
        return {
            "CREATIVES_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "CREATIVES_STORAGE__ENDPOINT": self.endpoint,
            "CREATIVES_STORAGE__ACCESS_KEY": ACCESS_KEY,
            "CREATIVES_STORAGE__SECRET_KEY": SECRET_KEY,
            "CREATIVES_STORAGE__SIGNING_KEYS": SIGNING_KEY,
            "CREATIVES_STORAGE__BUCKET": BUCKET,
            "CREATIVES_TOPICS__REPLICATION_FACTOR": str(len(self.kafka)),
        }

    def nodes(self) -> dict[str, Node]:
        """Return the servers by name: kafka-1 ... and minio."""
        brokers = {f"kafka-{n}": self._broker(n) for n in range(1, len(self.kafka) + 1)}
        return brokers | {"minio": self._store()}

    def up(self) -> None:
        """Start the servers that do not run, and wait until all serve requests. Raises ServicesFailed."""
        kafka_jars(), minio_server()
        for number in range(1, len(self.kafka) + 1):
            self._format(number)
        for node in self.nodes().values():
            node.start()
        for node in self.nodes().values():
            node.wait()

    def down(self) -> None:
        """Stop every node and remove the folder with its data."""
        for node in reversed(self.nodes().values()):
            node.stop()
        shutil.rmtree(self.folder)

    def _broker(self, number: int) -> Node:
        listener, _ = self.kafka[number - 1]
        folder = self.folder / f"kafka-{number}"
        memory = os.environ.get("SERVICES_KAFKA_MEMORY", "512m")
        java = shutil.which("java") or "java"
        options = (f"-Xmx{memory}", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.showDateTime=true")
        main = ("-cp", f"{kafka_jars()}/*", "kafka.Kafka", str(folder / "server.properties"))
        return Node(f"kafka-{number}", folder, listener, (java, *options, *main), {}, kafka_answers)

    def _store(self) -> Node:
        folder = self.folder / "minio"
        environ = {
            "MINIO_ROOT_USER": ACCESS_KEY,
            "MINIO_ROOT_PASSWORD": SECRET_KEY,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CI_CD": "1",  # accept a drive that is shared with the system
        }
        argv = (str(minio_server()), "server", str(folder / "data"), "--quiet", "--address", f"127.0.0.1:{self.minio}")
        return Node("minio", folder, self.minio, argv, environ, minio_answers)

    def _format(self, number: int) -> None:
        folder = self.folder / f"kafka-{number}"
        if (folder / "data" / "meta.properties").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "server.properties").write_text("\n".join(self._properties(number)) + "\n")
        identity = base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, str(self.folder)).bytes).decode().rstrip("=")
        tool = ["java", "-cp", f"{kafka_jars()}/*", "kafka.tools.StorageTool", "format"]
        _run([*tool, f"--cluster-id={identity}", "-c", str(folder / "server.properties")])  # it may begin with a dash

    def _properties(self, number: int) -> Iterator[str]:
        listener, controller = self.kafka[number - 1]
        replicas = len(self.kafka)
        yield "process.roles=broker,controller"
        yield f"node.id={number}"
        voters = (f"{n}@127.0.0.1:{ports[1]}" for n, ports in enumerate(self.kafka, 1))
        yield "controller.quorum.voters=" + ",".join(voters)
        listeners = [f"PLAINTEXT://127.0.0.1:{listener}", f"CONTROLLER://127.0.0.1:{controller}"]
        advertised = [f"PLAINTEXT://127.0.0.1:{listener}"]
        if self.proxied:
            behind, front = self.proxied[number - 1]
            listeners.append(f"PROXIED://127.0.0.1:{behind}")
            advertised.append(f"PROXIED://127.0.0.1:{front}")
        yield f"listeners={','.join(listeners)}"
        yield f"advertised.listeners={','.join(advertised)}"
        yield "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
        yield "controller.listener.names=CONTROLLER"
        yield f"log.dirs={self.folder / f'kafka-{number}' / 'data'}"
        yield f"offsets.topic.replication.factor={replicas}"
        yield f"transaction.state.log.replication.factor={replicas}"
        yield f"min.insync.replicas={min(replicas, 2)}"
        yield f"default.replication.factor={replicas}"
        yield "offsets.topic.num.partitions=4"
        yield "group.initial.rebalance.delay.ms=0"
        yield "auto.create.topics.enable=false"
        yield "controlled.shutdown.enable=true"
