"""The `creatives` command, and `python -m streams.cli` for child processes, which cannot rely on the PATH."""

from __future__ import annotations

import sys

from streams.stopping import exit_on_signals


def main() -> None:
    """Run the command line. `creatives worker` obeys a stop signal even before it has imported what it needs."""
    if next((word for word in sys.argv[1:] if not word.startswith("-")), None) == "worker":
        exit_on_signals()
    from streams.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
