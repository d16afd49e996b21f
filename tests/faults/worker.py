"""A real worker process with a fake device process and with injected faults.

FAULT_ENTRY: the entry of the device process, by default `tests.faults.fake_studio:serve`; the real one is
`models.serving:serve`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    from streams.app import create_app
    from streams.logs import configure
    from streams.settings import Settings
    from tests.faults import fault_injection

    if sys.platform == "linux":  # workers end with a killed test run
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    settings = Settings()
    configure(settings.log)
    fault_injection.install()
    app = create_app(settings, os.environ.get("FAULT_ENTRY", "tests.faults.fake_studio:serve"))
    app.Worker(loglevel="warn", redirect_stdouts=False, override_logging=False).execute_from_commandline()


if __name__ == "__main__":
    main()
