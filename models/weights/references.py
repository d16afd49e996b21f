"""What a reference to weights names, and whether it is there; imports no torch, so a worker can ask before it loads.

`models.weights.catalog` lists the forms of a reference, and hashes and opens what it names.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from models.briefs import StudioPlan
from models.errors import WeightsNotFound, first_line

WeightsRole = Literal["diffusion", "reranking", "upscaling", "dino"]

HUB = re.compile(r"^(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?(:(?P<file>[\w./ -]+))?$")
_OPEN_CLIP = re.compile(r"^(?P<architecture>[A-Za-z][\w.-]+):(?P<path>.+)$")
_HUB_SECONDS = 1.5  # a hub that takes longer to describe a repository cannot deliver gigabytes
_ROLES: tuple[WeightsRole, ...] = ("diffusion", "reranking", "upscaling", "dino")


def check_references(plan: StudioPlan) -> None:
    """Raise WeightsNotFound unless all weights of a plan are available. Takes at most 2 s; loads and hashes nothing.

    A hub id counts if its revision is in the local cache, or if the hub has it.
    """
    checks = [_Check(role, reference) for role, reference in _references(plan)]
    for check in checks:
        check.start()
    for check in checks:
        check.finish()


def may_need_hub(plan: StudioPlan) -> bool:
    """Return whether any weights of a plan are neither `demo` nor a path on this machine."""
    return any(not is_path(role, reference) for role, reference in _references(plan))


def _references(plan: StudioPlan) -> list[tuple[WeightsRole, str]]:
    """Return the role and reference of all weights of a plan that are not the demo's."""
    given = [(role, getattr(plan, role)) for role in _ROLES]
    return [(role, reference) for role, reference in given if reference not in (None, "demo")]


def is_path(role: WeightsRole, reference: str) -> bool:
    """Return whether a reference leads to something on this machine."""
    try:
        return Path(split_architecture(role, reference)[1]).expanduser().exists()
    except (OSError, RuntimeError):  # a name too long for a path, an unknown home folder
        return False


def split_architecture(role: WeightsRole, reference: str) -> tuple[str | None, str]:
    """Return open_clip's name of the architecture, if the reference has one, and the path or hub id."""
    if reference.startswith("local-dir:"):
        return None, reference.removeprefix("local-dir:")
    named = _OPEN_CLIP.match(reference) if role == "reranking" else None
    return (named["architecture"], named["path"]) if named else (None, reference)


def no_such_path(role: WeightsRole, reference: str) -> WeightsNotFound:
    """Return the error of a reference that is neither a path nor a hub id."""
    return WeightsNotFound(role=role, reference=reference, hint="there is no such path; check its spelling.")


def not_pinned(role: WeightsRole, repository: str) -> WeightsNotFound:
    """Return the error of a hub id without a revision."""
    hint = f"there is no such path; if it is a hub id, pin it: {repository}@<commit>."
    return WeightsNotFound(role=role, reference=repository, hint=hint)


class _Check:
    """The check of one reference. The hub is asked in a thread: resolving its name may hang for much longer."""

    def __init__(self, role: WeightsRole, reference: str) -> None:
        self._role, self._reference = role, reference
        self._answer: WeightsNotFound | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look for a path; ask for a hub id in the background. Raises WeightsNotFound."""
        _, place = split_architecture(self._role, self._reference)
        try:
            path = Path(place).expanduser()
            if path.exists():
                return
        except (OSError, RuntimeError) as error:  # a name too long for a path, an unknown home folder
            hint = f"{first_line(error)}."
            raise WeightsNotFound(role=self._role, reference=self._reference[:200], hint=hint) from error
        hub = HUB.match(place)
        if hub is None or path.is_absolute():
            raise no_such_path(self._role, self._reference)
        if hub["revision"] is None:
            raise not_pinned(self._role, hub["repository"])
        if not _in_cache(hub["repository"], hub["revision"], hub["file"]):
            self._ask_hub(lambda: _ask(self._role, hub["repository"], hub["revision"]))

    def finish(self) -> None:
        """Wait for the hub's answer. Raises WeightsNotFound."""
        if self._thread is not None:
            self._thread.join(_HUB_SECONDS)
        if self._answer is not None:
            raise self._answer

    def _ask_hub(self, ask: Callable[[], WeightsNotFound | None]) -> None:
        hint = f"it is not in the local cache, and the hub did not answer within {_HUB_SECONDS:g} s; {_DOWNLOAD}"
        self._answer = WeightsNotFound(role=self._role, reference=self._reference, hint=hint)

        def run() -> None:
            self._answer = ask()

        self._thread = threading.Thread(target=run, name="hub", daemon=True)
        self._thread.start()


_DOWNLOAD = "download it on a machine with a network."


def _in_cache(repository: str, revision: str, file: str | None) -> bool:
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    if file:
        return isinstance(huggingface_hub.try_to_load_from_cache(repository, file, revision=revision), str)
    try:
        huggingface_hub.snapshot_download(repository, revision=revision, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return False
    return True


def _ask(role: WeightsRole, repository: str, revision: str) -> WeightsNotFound | None:
    """Return why the hub does not give a revision, None if it does."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    reference = f"{repository}@{revision}"
    try:
        HfApi().repo_info(repository, revision=revision, timeout=_HUB_SECONDS)
    except (HfHubHTTPError, HFValidationError) as error:
        return WeightsNotFound(role=role, reference=reference, hint=first_line(error))
    except Exception as error:  # noqa: BLE001 - whatever the HTTP library raises means that the hub is out of reach
        hint = f"it is not in the local cache, and the hub cannot be reached ({first_line(error)}); {_DOWNLOAD}"
        return WeightsNotFound(role=role, reference=reference, hint=hint)
    return None
