"""A real worker process with two differences: its device process is a fake, and traps may be set in it.

FAULT_ENTRY names the device process's entry (`tests.faults.fake_studio:serve`); `models.serving:serve` is the real one.
Imports are inside: the spawned device process reads this module again.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    import faust

    from streams.app import create_app
    from streams.logs import configure
    from streams.settings import Settings
    from tests.faults import traps

    if sys.platform == "linux":  # a proving ground that is killed leaves no workers behind
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    settings = Settings()
    configure(settings.log)
    traps.install()
    app = create_app(settings, os.environ.get("FAULT_ENTRY", "tests.faults.fake_studio:serve"))
    faust.Worker(app, loglevel="warn", redirect_stdouts=False, override_logging=False).execute_from_commandline()


if __name__ == "__main__":
    main()
