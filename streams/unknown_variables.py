"""Finds environment variables that look like settings and are none, and the setting that was probably meant.

A misspelt variable would otherwise be ignored: the worker runs with a default that nobody chose.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches

from pydantic import BaseModel
from pydantic_settings import BaseSettings, EnvSettingsSource

from models.errors import CreativesError

PREFIX = "CREATIVES_"
ALLOW = "CREATIVES_ALLOW_UNKNOWN"
_NEAR = 0.75  # similarity of a name to the setting that was probably meant
_NEARER = 0.85  # of a name whose prefix is not ours: other programs' variables must not stop a worker
_NEAR_PREFIX = 0.8
# Kubernetes and Docker describe a service named `creatives` or `creatives-web` in variables such as
# CREATIVES_PORT_6066_TCP_ADDR and CREATIVES_WEB_PORT=tcp://10.0.0.1:6066.
_SERVICE_LINK = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://.*")


class UnknownSettings(CreativesError):
    """{faults}. Correct or unset each; CREATIVES_ALLOW_UNKNOWN=1 ignores them with a warning."""


@dataclass(frozen=True)
class UnknownVariable:
    """A variable that is no setting. setting: the one with the nearest name, None if no name is near."""

    name: str
    setting: str | None

    def __str__(self) -> str:
        """Return the fault in one line, without the value: it may be a secret."""
        hint = f"did you mean {self.setting}?" if self.setting else "docs/settings.md lists them"
        return f"{self.name}: there is no such setting ({hint})"


def environment_source(settings: type[BaseSettings]) -> EnvSettingsSource:
    """Return the environment without the variables that are ignored. Raises UnknownSettings unless ALLOW is set."""
    unknown = ignored_variables(settings)
    if unknown and os.environ.get(ALLOW, "").lower() not in {"1", "true", "yes", "on"}:
        raise UnknownSettings(faults="; ".join(map(str, unknown)))
    names = {variable.name.lower() for variable in unknown}
    source = EnvSettingsSource(settings)
    source.env_vars = {name: value for name, value in source.env_vars.items() if name.lower() not in names}
    return source


def ignored_variables(settings: type[BaseModel]) -> list[UnknownVariable]:
    """Return the unknown variables of this process's environment."""
    return unknown_variables(os.environ, settings)


def unknown_variables(environ: Mapping[str, str], settings: type[BaseModel]) -> list[UnknownVariable]:
    """Return the variables with our prefix, or with a misspelt one, that name no setting; sorted by name."""
    names = dict(_names(settings, PREFIX))
    leaves = {_flat(name.removeprefix(PREFIX)): name for name, is_group in names.items() if not is_group}
    found = []
    for variable, value in sorted(environ.items()):
        name = variable.upper()
        head, _, rest = name.partition("_")
        if name in {*names, ALLOW} or _is_service_link(name, value):
            continue
        ours = name.startswith(PREFIX)
        if not ours and SequenceMatcher(None, head, PREFIX[:-1]).ratio() < _NEAR_PREFIX:
            continue
        near = get_close_matches(_flat(rest).lstrip("_"), leaves, n=1, cutoff=_NEAR if ours else _NEARER)
        if ours or near:
            found.append(UnknownVariable(variable, leaves[near[0]] if near else None))
    return found


def _names(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield the variable of each setting and of each group, which takes its settings as JSON; and whether it is one."""
    for name, field in model.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield prefix + name.upper(), True
            yield from _names(group, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper(), False


def _flat(name: str) -> str:
    """Return the name with single underscores: the usual slip is one underscore in place of two."""
    return re.sub("_+", "_", name)


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _LINK_VALUE.fullmatch(value)))
