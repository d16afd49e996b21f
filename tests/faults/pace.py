"""The settings that every worker of the proving ground shares, and how they are read."""

from __future__ import annotations

import os

from streams.settings import Settings

PACE = {  # short timeouts, so that a scenario shows in seconds what production shows in minutes
    "CREATIVES_KAFKA__SESSION_TIMEOUT": "6",
    "CREATIVES_KAFKA__HEARTBEAT_INTERVAL": "1",
    "CREATIVES_KAFKA__REQUEST_TIMEOUT": "10",
    "CREATIVES_KAFKA__COMMIT_INTERVAL": "0.5",
    "CREATIVES_DEVICE__DEADLINE": "4",
    "CREATIVES_DEVICE__LINGER": "0.005",
    "CREATIVES_DELIVERY__BACKOFF": "0.2",
    "CREATIVES_DELIVERY__BACKOFF_CAP": "2",
    "CREATIVES_DELIVERY__DRAIN": "8",
    "CREATIVES_STORAGE__TIMEOUT": "5",
    "CREATIVES_STUDIO__CANDIDATES": "3",
    "CREATIVES_STUDIO__IMAGES": "2",
    "CREATIVES_WEB__PORT": "0",
}


def cleaned(environ: dict[str, str] | os._Environ[str]) -> dict[str, str]:
    """Return the variables that are not about us."""
    return {name: value for name, value in environ.items() if not name.startswith(("CREATIVES_", "FAULT_", "FAKE_"))}


def read_settings(environ: dict[str, str]) -> Settings:
    """Return the settings that a process with these variables would read."""
    kept = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(cleaned(kept) | environ)
        return Settings()
    finally:
        os.environ.clear()
        os.environ.update(kept)
