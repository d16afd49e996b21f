"""The settings that the workers of all fault scenarios share."""

from __future__ import annotations

import os

from streams.settings import Settings

SHORT_TIMEOUTS = {  # a scenario shows in seconds what happens in minutes in production
    "CREATIVES_KAFKA__SESSION_TIMEOUT": "6",
    "CREATIVES_KAFKA__HEARTBEAT_INTERVAL": "1",
    "CREATIVES_KAFKA__REQUEST_TIMEOUT": "10",
    "CREATIVES_KAFKA__COMMIT_INTERVAL": "0.5",
    "CREATIVES_DEVICE__DEADLINE": "4",
    "CREATIVES_DEVICE__LINGER": "0.005",
    "CREATIVES_DEVICE__VARIABLES": "FAKE_*, FAULT_*",
    "CREATIVES_DELIVERY__BACKOFF": "0.2",
    "CREATIVES_DELIVERY__BACKOFF_CAP": "2",
    "CREATIVES_DELIVERY__DRAIN": "8",
    "CREATIVES_STORAGE__TIMEOUT": "5",
    "CREATIVES_STUDIO__CANDIDATES": "3",
    "CREATIVES_STUDIO__IMAGES": "2",
    "CREATIVES_WEB__PORT": "0",
}


def without_project_variables(environ: dict[str, str] | os._Environ[str]) -> dict[str, str]:
    """Return the environment without the variables of this project and of its fault tests."""
    return {name: value for name, value in environ.items() if not name.startswith(("CREATIVES_", "FAULT_", "FAKE_"))}


def read_settings(environ: dict[str, str]) -> Settings:
    """Return the settings that a process with these variables reads."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(without_project_variables(before) | environ)
        return Settings()
    finally:
        os.environ.clear()
        os.environ.update(before)
