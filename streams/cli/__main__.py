"""The `creatives` command, and `python -m streams.cli` for child processes, which cannot rely on the PATH."""

from __future__ import annotations

import sys

from models.isolation import hide_from_children
from streams.stopping import exit_on_signals


def main() -> None:
    """Run the command line. `creatives worker` obeys a stop signal even before it has imported what it needs.

    Each command may hold secrets, and the device process of a worker runs as the same user.
    """
    hide_from_children()
    if next((word for word in sys.argv[1:] if not word.startswith("-")), None) == "worker":
        exit_on_signals()
    from streams.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
