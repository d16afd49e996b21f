"""Terminal basics for every command: settings and folders with readable errors, consoles, and log levels."""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console

from streams.settings import Settings
from streams.unknown_variables import PREFIX, UnknownSettings, ignored_variables

console = Console(highlight=False)
err_console = Console(stderr=True, highlight=False)


class InputError(click.ClickException):
    """A file, a setting or a folder from the user cannot be used. The command exits with code 2 and prints no usage."""

    exit_code = 2


def set_library_logging(*, enabled: bool) -> None:
    """Show or hide the log lines of libraries: the command's own messages report what the user can act on."""
    for name in ("aiokafka", "kafka", "faust", "werkzeug", "urllib3", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET if enabled else logging.CRITICAL)


def counted(number: int, noun: str) -> str:
    """Return the number and its noun, such as `1 partition` and `4 partitions`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def require_writable(folder: Path) -> None:
    """Create the folder if it is missing. Raises InputError if no file can be written there.

    Call it before work that takes minutes and writes its result there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"Cannot write to {folder}: {error.strerror}. Choose another folder with --out.") from None


def read_settings() -> Settings:
    """Return the settings from the environment. Raises InputError with the name of each wrong variable."""
    try:
        settings = Settings()
    except UnknownSettings as error:
        raise InputError(str(error)) from None
    except ValidationError as error:
        raise InputError("\n".join(_faults(error))) from None
    except SettingsError as error:
        group = re.search(r'field "(\w+)"', str(error))
        name = f"{PREFIX}{group[1].upper()}__*" if group else PREFIX
        raise InputError(f'{name}: a list or object must be JSON, such as ["one", "two"]') from None
    for variable in ignored_variables(Settings):
        click.echo(f"Warning: {variable}", err=True)
    return settings


def _faults(error: ValidationError) -> list[str]:
    """Return one line per fault, without the values: they may be secrets."""
    return [_fault(fault) for fault in error.errors(include_url=False, include_input=False, include_context=False)]


def _fault(fault: Any) -> str:
    name = PREFIX + "__".join(str(part).upper() for part in fault["loc"])
    if fault["type"] == "extra_forbidden":  # in the JSON of a whole group
        return f"{name}: there is no such setting; docs/settings.md lists them"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if fault["loc"] else message


def require_broker(settings: Settings) -> Settings:
    """Return the settings if they name a broker. Raises InputError if the broker is `embedded`.

    An embedded broker lives inside the process that starts it, so a command cannot share it with a worker.
    """
    if settings.kafka.bootstrap_servers == "embedded":
        raise _no_service("Kafka broker", "CREATIVES_KAFKA__BOOTSTRAP_SERVERS=host:port")
    return settings


def require_store(settings: Settings) -> Settings:
    """Return the settings if they name an object store. Raises InputError if the store is `embedded`."""
    if settings.storage.endpoint == "embedded":
        raise _no_service("object store", "CREATIVES_STORAGE__ENDPOINT=http://host:port")
    return settings


def _no_service(name: str, setting: str) -> InputError:
    return InputError(
        f"No {name} is set. Set {setting}, or start broker and store with\n"
        "  creatives services --env-file services.env\n"
        "and load their addresses here with\n"
        "  set -a; . ./services.env; set +a"
    )
