"""The command line as processes of their own, as a user runs it."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CREATIVES = [sys.executable, "-m", "streams.cli"]


def environment(**more):
    """Return this process's environment without settings, and `more`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CREATIVES_")}
    return {**clean, **more}
