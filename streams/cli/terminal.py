"""What all commands share at the terminal: settings read with readable errors, consoles, quiet libraries."""

from __future__ import annotations

import logging
import re
from typing import Any

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console

from streams.settings import Settings

PREFIX = "CREATIVES_"

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Wrong(click.ClickException):
    """What the user gave cannot be used: exit code 2, without the lines of usage that a wrong option shows."""

    exit_code = 2


def quieten(*, undo: bool = False) -> None:
    """Keep the libraries' running commentary off the terminal: our own messages say what matters."""
    for name in ("aiokafka", "kafka", "faust", "werkzeug", "urllib3", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET if undo else logging.CRITICAL)


def read_settings() -> Settings:
    """Return the settings of the environment; a wrong one ends the command with its variable's name."""
    try:
        return Settings()
    except ValidationError as error:
        raise Wrong("\n".join(_faults(error))) from None
    except SettingsError as error:
        group = re.search(r'field "(\w+)"', str(error))
        name = f"{PREFIX}{group[1].upper()}__*" if group else PREFIX
        raise Wrong(f'{name}: a list or object must be JSON, such as ["one", "two"]') from None


def _faults(error: ValidationError) -> list[str]:
    """Return a line per fault. The values stay unsaid: they may be secrets."""
    return [_fault(fault) for fault in error.errors(include_url=False, include_input=False, include_context=False)]


def _fault(fault: Any) -> str:
    name = PREFIX + "__".join(str(part).upper() for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{name}: there is no such setting; docs/settings.md lists them"
    words = str(fault["msg"]).removeprefix("Value error, ")
    return f"{name}: {words}" if fault["loc"] else words


def reachable(settings: Settings) -> Settings:
    """Return the settings, unless they name no broker that another process could reach."""
    if settings.kafka.bootstrap_servers == "embedded":
        raise Wrong(
            "No broker is named. Set CREATIVES_KAFKA__BOOTSTRAP_SERVERS=host:port, or start one with\n"
            "  creatives services --env-file services.env\nand here: set -a; . ./services.env; set +a"
        )
    return settings
