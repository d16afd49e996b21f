"""`python -m tests.faults`: see tests/faults/run.py."""

import asyncio
import sys

from tests.faults.run import main

if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
