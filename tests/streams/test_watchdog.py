import asyncio
import subprocess
import sys
import time

from streams.watchdog import EXIT_STALLED, Watchdog

BLOCKED = """
import asyncio, time
from streams.watchdog import Watchdog

async def main():
    Watchdog(stall=0.3).start()
    await asyncio.sleep(0.1)
    time.sleep(30)

asyncio.run(main())
"""


STUCK = """
import atexit, time
from streams.watchdog import exit_within

exit_within(0.3, 1)
atexit.register(time.sleep, 60)
"""


def test_a_shutdown_that_hangs_is_forced():
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", STUCK], timeout=40, check=False)
    assert done.returncode == 1
    assert time.monotonic() - began < 30


async def test_a_moving_loop_does_not_stall():
    stalls = []
    watchdog = Watchdog(stall=0.2, on_stall=stalls.append)
    watchdog.start()
    await asyncio.sleep(0.5)
    assert watchdog.silence < 0.2
    watchdog.stop()
    assert stalls == []


async def test_a_blocked_loop_stalls_once():
    stalls = []
    watchdog = Watchdog(stall=0.1, on_stall=stalls.append)
    watchdog.start()
    await asyncio.sleep(0.05)
    time.sleep(0.5)  # noqa: ASYNC251 - blocking the loop is the point
    assert len(stalls) == 1
    assert stalls[0] > 0.1
    watchdog.stop()


def test_a_blocked_worker_exits_and_prints_its_stacks():
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=25, check=False)
    assert done.returncode == EXIT_STALLED
    assert "main loop has not moved" in done.stderr
    assert "time.sleep" in done.stderr or "in main" in done.stderr
