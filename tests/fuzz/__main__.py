"""Fuzz one target under Atheris: `python -m tests.fuzz TARGET [--minutes N]`. Ends with code 77 at the first fault.

Atheris (https://github.com/google/atheris) drives libFuzzer, which mutates inputs and keeps those that reach new code.
The inputs that it keeps, and those that failed, stay in `build/fuzz/TARGET/`; the next run starts from them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import atheris

FOLDER = Path(__file__).parents[2] / "build/fuzz"
SLOWEST_SECONDS = 10
MAX_MEGABYTES = 3072

with atheris.instrument_imports(include=["schemas", "streams", "models", "PIL", "safetensors"]):
    from tests.fuzz.targets import TARGETS, Target


def main() -> None:
    """Read the command line and fuzz until the time is up."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz one target.")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    fuzz(arguments.target, TARGETS[arguments.target], arguments.minutes)


def fuzz(name: str, target: Target, minutes: float) -> None:
    """Fuzz one target for `minutes`. Does not return: libFuzzer ends the process."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(target.seeds()):
        (folder / f"seed-{number}").write_bytes(content)
    options = {
        "max_total_time": round(minutes * 60),
        "timeout": SLOWEST_SECONDS,
        "rss_limit_mb": MAX_MEGABYTES,
        "artifact_prefix": f"{folder}/fault-",
        "print_final_stats": 1,
    }
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(folder)], target.read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
