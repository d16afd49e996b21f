"""The composition root: everything is made here, from settings, and connected; nothing is opened before start.

The order matters and is one list, `Crew.start`: what can be wrong with a deployment (topics, store, weights) is found
out before the first event is taken, and stopping goes the other way round.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Any

import faust
import structlog
from faust.assignor.partition_assignor import PartitionAssignor
from faust.types.tuples import TP
from yarl import URL

from models.errors import CreativesError
from streams.kafka import agents
from streams.kafka.brokers import faust_credentials, raise_group_errors
from streams.kafka.consumer import Transport
from streams.kafka.ledger import Partition
from streams.runtime import Runtime, group_id
from streams.settings import Settings
from streams.watchdog import exit_within

log = structlog.get_logger(__name__)


class EmbeddedBrokerAssignor(PartitionAssignor):
    """Faust's assignor, slowed where there is somebody to wait for.

    librdkafka's mock cluster refuses followers whose SyncGroup comes after the leader's; a third of a second lets
    them be first. On a real Kafka it only makes a rebalance that much longer.
    """

    def assign(self, cluster: Any, members: Any) -> Any:
        """Assign partitions. aiokafka asks for them in one call, so that the loop stands still meanwhile."""
        if len(members) > 1:
            time.sleep(0.3)
        return super().assign(cluster, members)


_DAY = 86_400.0


class CreativesApp(faust.App):
    """A Faust app with a crew that stands before the first event is taken and falls after the last is acked."""

    logger = logging.getLogger("faust.app")  # Faust's lines about us are Faust's: warnings and up
    runtime: Runtime

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    async def on_first_start(self) -> None:
        """Make no folder: Faust would, for tables, and we keep none."""

    async def on_start(self) -> None:
        """Start the crew; a deployment that cannot work ends here with one line and exit code 1.

        At log level debug the line's traceback follows.
        """
        try:
            await self.runtime.start()
        except CreativesError as error:
            told = self.runtime.settings.log.level == "debug"
            log.error("cannot start", reason=str(error), code=type(error).__name__, exc_info=told)  # noqa: TRY400
            raise SystemExit(1) from None
        await super().on_start()

    async def on_stop(self) -> None:
        """Finish what runs, then let Faust commit what was acked."""
        await self.runtime.drain()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        """Let go of everything else."""
        await super().on_shutdown()
        await self.runtime.stop()


def faust_options(settings: Settings) -> dict[str, Any]:
    """Return the settings under which Faust neither loses events nor wedges.

    Why each: docs/decisions. A huge max-poll interval lets a lesson take hours; a hang is `streams.watchdog`'s to find.
    """
    kafka = settings.kafka
    return {
        "broker": [URL(f"aiokafka://{server.strip()}") for server in kafka.bootstrap_servers.split(",")],
        "broker_credentials": faust_credentials(kafka),
        "broker_client_id": f"creatives-{settings.role}",
        "broker_session_timeout": kafka.session_timeout,
        "broker_heartbeat_interval": kafka.heartbeat_interval,
        "broker_rebalance_timeout": max(60.0, kafka.session_timeout),
        "broker_request_timeout": max(kafka.request_timeout, kafka.session_timeout),
        "broker_commit_interval": kafka.commit_interval,
        "broker_max_poll_interval": 7 * _DAY,
        "broker_commit_livelock_soft_timeout": _DAY,
        "consumer_auto_offset_reset": "earliest",
        # A consumer that has lost a partition's leader before its first fetch does not ask who leads it now; it only
        # learns at the next refresh, by default 5 minutes later.
        "consumer_metadata_max_age_ms": 10_000,
        "PartitionAssignor": EmbeddedBrokerAssignor,
        # Of a backlog, each partition's fetch lies unpacked in memory. One larger event comes all the same (KIP-74).
        "consumer_max_fetch_size": 2**18,
        "consumer_group_instance_id": kafka.instance_id,
        "processing_guarantee": "at_least_once",
        "stream_wait_empty": False,
        "stream_buffer_maxsize": settings.delivery.window,
        "stream_processing_timeout": _DAY,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
        "worker_redirect_stdouts": False,
        "datadir": str(Path(tempfile.gettempdir(), "creatives-faust")),  # never made, see on_first_start
    }


def create_app(settings: Settings, entry: str = "models.serving:serve") -> CreativesApp:
    """Return the app of one worker. entry: `module:function` of the device process. Opens nothing."""
    raise_group_errors()
    app = CreativesApp(group_id(settings), **faust_options(settings))
    app.runtime = Runtime(settings, entry, partial(_give_up, settings.delivery.drain))
    for each in app.runtime.inputs:
        agents.install(app, each.topic, each.attempt, each.in_flight)
    app.on_partitions_revoked.connect(_revoked)
    app.on_partitions_assigned.connect(_assigned)
    return app


async def _revoked(app: CreativesApp, revoked: AbstractSet[TP], **_: Any) -> None:
    app.runtime.revoked([Partition(*tp) for tp in revoked])


async def _assigned(app: CreativesApp, assigned: AbstractSet[TP], **_: Any) -> None:
    app.runtime.assigned([Partition(*tp) for tp in assigned])


def _give_up(drain: float, error: Exception) -> None:
    """Stop the worker with exit code 1, its event unacked; by force where it takes a minute more than the drain may."""
    exit_within(drain + 60.0, 1)
    log.critical("the worker stops", reason=str(error))
    asyncio.get_running_loop().call_soon(_exit, 1)


def _exit(code: int) -> None:
    raise SystemExit(code)
