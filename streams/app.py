"""The composition root: builds the Faust app and the runtime from the settings, and opens nothing."""

from __future__ import annotations

import asyncio
import logging
import signal
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
from streams.device.client import ENTRY
from streams.kafka import agents, record_batches
from streams.kafka.brokers import faust_credentials, raise_group_errors
from streams.kafka.consumer import Transport
from streams.kafka.ledger import Partition
from streams.runtime import Runtime, group_id
from streams.settings import Settings
from streams.stopping import exit_now
from streams.watchdog import exit_within

log = structlog.get_logger(__name__)

_DAY = 86_400.0
_POLL_RECORDS = 500  # parsed in one turn of the event loop
_FORCED_EXIT_SECONDS = 60.0  # after the drain, if the worker stops because of an error
_STOP_SECONDS = 4.5  # after the drain, if a signal stops the worker


class EmbeddedBrokerAssignor(PartitionAssignor):
    """Faust's assignor, delayed by a third of a second if the group has several members.

    librdkafka's mock cluster refuses followers whose SyncGroup arrives after the leader's. The delay lets them be
    first. A real Kafka only sees a slightly longer rebalance.
    """

    def assign(self, cluster: Any, members: Any) -> Any:
        """Assign partitions. aiokafka calls this synchronously, so the event loop waits as well."""
        if len(members) > 1:
            time.sleep(0.3)
        return super().assign(cluster, members)


class CreativesWorker(faust.Worker):
    """Faust's own runner of an app. It ends on SIGTERM or Ctrl-C as `streams.stopping` describes."""

    app: CreativesApp

    def _on_sigint(self) -> None:
        self._schedule_shutdown(signal.SIGINT)

    def _on_sigterm(self) -> None:
        self._schedule_shutdown(signal.SIGTERM)

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        runtime = self.app.runtime
        if self._signal_stop_time or not runtime.view.loaded:
            log.info("stopped at once", signal=number.name)
            exit_now()
        log.info("stopping", signal=number.name, drain=runtime.settings.delivery.drain)
        exit_within(runtime.settings.delivery.drain + _STOP_SECONDS, 0)
        super()._schedule_shutdown(number)


class CreativesApp(faust.App):
    """A Faust app whose runtime starts before the first event and stops after the last ack."""

    logger = logging.getLogger("faust.app")  # Faust logs through its own logger: warnings and above
    runtime: Runtime

    def _new_transport(self) -> Transport:
        transport = Transport(self.conf.broker_consumer, self)
        transport.isolation = self.runtime.settings.kafka.isolation
        return transport

    async def on_first_start(self) -> None:
        """Skip Faust's own step, which creates a folder for tables. This service has none."""

    async def on_start(self) -> None:
        """Start the runtime. If the deployment cannot work, log one line and exit with code 1.

        At log level debug the traceback follows that line.
        """
        try:
            await self.runtime.start()
        except CreativesError as error:
            debug = self.runtime.settings.log.level == "debug"
            log.error("cannot start", reason=str(error), code=type(error).__name__, exc_info=debug)  # noqa: TRY400
            raise SystemExit(1) from None
        await super().on_start()

    async def on_stop(self) -> None:
        """Finish the events in flight, then let Faust commit the acked offsets."""
        await self.runtime.drain()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        """Stop everything else."""
        await super().on_shutdown()
        await self.runtime.stop()


def faust_options(settings: Settings) -> dict[str, Any]:
    """Return the settings under which Faust neither loses events nor stalls. docs/decisions explains each.

    The very large max-poll interval allows training jobs of hours; `streams.watchdog` detects hangs instead.
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
        "broker_max_poll_records": _POLL_RECORDS,
        "broker_commit_interval": kafka.commit_interval,
        "broker_max_poll_interval": 7 * _DAY,
        "broker_commit_livelock_soft_timeout": _DAY,
        "consumer_auto_offset_reset": "earliest",
        # If a partition loses its leader before the first fetch, the consumer finds the new leader only at its next
        # metadata refresh, which comes every 5 minutes by default.
        "consumer_metadata_max_age_ms": 10_000,
        "PartitionAssignor": EmbeddedBrokerAssignor if kafka.embedded else PartitionAssignor,
        # A backlog keeps one unpacked fetch per partition in memory. A single larger event still arrives (KIP-74).
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
        "Worker": CreativesWorker,
        "datadir": str(Path(tempfile.gettempdir(), "creatives-faust")),  # never created, see on_first_start
    }


def create_app(settings: Settings, entry: str = ENTRY) -> CreativesApp:
    """Return the app of one worker. entry: `module:function` that the device process runs. Opens nothing."""
    raise_group_errors()
    record_batches.install()
    app = CreativesApp(group_id(settings), **faust_options(settings))
    app.runtime = Runtime(settings, entry, partial(_stop_worker, settings.delivery.drain))
    for each in app.runtime.inputs:
        agents.install(app, each.topic, each.attempt, each.in_flight)
    app.on_partitions_revoked.connect(_on_revoked)
    app.on_partitions_assigned.connect(_on_assigned)
    return app


async def _on_revoked(app: CreativesApp, revoked: AbstractSet[TP], **_: Any) -> None:
    app.runtime.on_revoked([Partition(*tp) for tp in revoked])


async def _on_assigned(app: CreativesApp, assigned: AbstractSet[TP], **_: Any) -> None:
    app.runtime.on_assigned([Partition(*tp) for tp in assigned])


def _stop_worker(drain: float, error: Exception) -> None:
    """Exit with code 1 and leave the event unacked. Exits by force if the shutdown outlasts the drain by a minute."""
    exit_within(drain + _FORCED_EXIT_SECONDS, 1)
    log.critical("the worker stops", reason=str(error))
    asyncio.get_running_loop().call_soon(_exit, 1)


def _exit(code: int) -> None:
    raise SystemExit(code)
