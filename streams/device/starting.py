"""Starts device processes, and replaces one that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from models.briefs import StudioPlan, StudioReady
from models.errors import CreativesError, DeviceUnavailable
from streams.device.process import DeviceProcess, ProcessEnded
from streams.device.status import StatusTracker
from streams.failures import DeviceStuck, WeightsChanged
from streams.settings import DeviceSettings

log = structlog.get_logger(__name__)

_BACKOFF_CAP = 30.0  # seconds


class ProcessStarter:
    """Starts one child at a time. make_process: starts the process itself; see DeviceProcess.

    ready: the description of the studio that the first child loaded, None before. process: the newest child.
    attempts: replacements since `attempts` was last set to 0; from the second on, each waits longer.
    """

    def __init__(
        self,
        plan: StudioPlan,
        settings: DeviceSettings,
        status: StatusTracker,
        make_process: Callable[[], DeviceProcess],
    ) -> None:
        self._plan, self._settings, self._status = plan, settings, status
        self._make_process = make_process
        self.ready: StudioReady | None = None
        self.process: DeviceProcess | None = None
        self.attempts = 0

    async def start(self) -> DeviceProcess:
        """Start a child and wait until it is ready. Raises its named error, DeviceUnavailable or WeightsChanged."""
        self._status.change_state("loading" if self.ready is None else "restarting")
        process = self.process = self._make_process()
        message = await process.startup_message(self._settings.start_deadline, self._status.add_progress)
        if isinstance(message, StudioReady):
            if self.ready is None or message.recipe.fingerprint == self.ready.recipe.fingerprint:
                self.ready = message
                self._status.error_message = None
                self._status.isolation = process.isolation()
                self._status.change_state("idle")
                return process
            message = WeightsChanged()
        await process.kill_and_wait("did not start")
        reason = message.reason if isinstance(message, ProcessEnded) else "sent no ready message"
        detail = f"its process {reason} while it loaded the models."
        raise message if isinstance(message, CreativesError) else self.unavailable(detail)

    async def replace(self) -> DeviceProcess:
        """Replace a child that ended, with as many attempts as it takes. Callers keep waiting.

        Raises WeightsChanged and DeviceStuck, which a further attempt cannot fix.
        """
        self._status.restarts += 1
        self._status.change_state("restarting")
        while True:
            if self.attempts:
                await asyncio.sleep(min(_BACKOFF_CAP, 0.25 * 2.0 ** min(self.attempts, 10)))
            self.attempts += 1
            try:
                return await self.start()
            except (WeightsChanged, DeviceStuck):
                raise
            except CreativesError as error:
                self._status.error_message = str(error)
                log.error("device process does not start", error=str(error), attempts=self.attempts)  # noqa: TRY400

    def unavailable(self, detail: str) -> DeviceUnavailable:
        """Return the error of this plan's device."""
        return DeviceUnavailable(device=self._plan.device, detail=detail)
