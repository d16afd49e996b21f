"""References to weights, and the files that they name.

demo                                       the family that ships with the project
/models/stable-diffusion-v1-5              a diffusers folder
/models/dreamshaper.safetensors            a single file (SD 1.x, SD 2.x or SDXL; its keys show which)
ViT-H-14:/models/open_clip_model.safetensors    an open_clip architecture and a weights file
local-dir:/models/clip                     an open_clip folder
/models/003_realSR_BSRGAN_..._x4_GAN.pth   an official SwinIR file
owner/name@revision[:file]                 a hub repository at a commit or tag, or one file of it
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.briefs import WeightsUsed
from models.errors import WeightsDamaged, WeightsNotFound, first_line
from models.weights import families
from models.weights.checkpoints import sha256_of
from models.weights.families import Family
from models.weights.references import HUB, WeightsRole, no_such_path, not_pinned, split_architecture
from models.weights.remote_code import refuse_remote_code

DEMO = Path(__file__).parents[1] / "demo"
DEMO_PARTS: dict[str, str] = {"diffusion": "diffusion", "reranking": "clip", "upscaling": "swinir"}
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
DIFFUSERS_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
_FILES = ("*.json", "*.txt", "*.safetensors", "*.bin")
READ_BY = {
    "diffusion": ("model_index.json", *(f"{part}/{name}" for part in DIFFUSERS_PARTS for name in _FILES)),
    "reranking": _FILES,
    "upscaling": ("*.json", "*.safetensors", "*.pth"),
    "dino": ("*.json", "*.safetensors"),
}
# Other forms of the same weights, downloaded only if the repository has no file in the preferred form.
HEAVY = ("*.bin", "*.pth", "*.fp16.*", "*.bf16.*", "*non_ema*")
_LICENCE = re.compile(r"^license:\s*[\"']?(?P<licence>[\w.+-]+)", re.MULTILINE)


@dataclass(frozen=True)
class Weights:
    """Weights on disk. architecture: open_clip's name if the reference has one; files: (name, sha256) of each file."""

    role: WeightsRole
    id: str
    revision: str
    licence: str
    path: Path
    files: tuple[tuple[str, str], ...]
    architecture: str | None = None
    family: Family = field(default_factory=Family)

    def file(self) -> Path:
        """Return the weight file. Raises WeightsNotFound if a folder holds none or several."""
        if self.path.is_file():
            return self.path
        found = [name for name, _ in self.files if name.endswith(WEIGHT_SUFFIXES)]
        if len(found) != 1:
            hint = f"the folder holds {len(found)} weight files; name one file instead of the folder."
            raise WeightsNotFound(role=self.role, reference=self.path.name, hint=hint)
        return self.path / found[0]

    def recipe_entry(self) -> WeightsUsed:
        """Return the entry of these weights in the recipe."""
        return WeightsUsed(self.role, self.id, self.revision, self.licence)


def resolve(role: WeightsRole, reference: str) -> Weights:
    """Return the weights of a role, with the hash of every file.

    Raises WeightsNotFound, WeightsDamaged, UnusableCard, UnsafeConfiguration.
    """
    try:
        weights = _resolve(role, reference)
        if weights.path.is_dir():
            refuse_remote_code(weights.path, (name for name, _ in weights.files))
    except (OSError, RuntimeError) as error:  # unreadable files, names too long for a path, unknown home folders
        raise WeightsNotFound(role=role, reference=reference[:200], hint=f"{first_line(error)}.") from error
    return weights


def _resolve(role: WeightsRole, reference: str) -> Weights:
    if reference == "demo" and role in DEMO_PARTS:
        return _demo(role)
    architecture, place = split_architecture(role, reference)
    path = Path(place).expanduser()
    if path.exists():
        return _local(role, path, architecture)
    hub = HUB.match(place)
    if hub and not path.is_absolute():
        return _hub(role, hub["repository"], hub["revision"], hub["file"], architecture)
    raise no_such_path(role, reference)


def _demo(role: WeightsRole) -> Weights:
    card = DEMO / "family.json"
    path = DEMO / DEMO_PARTS[role]
    if not card.is_file() or not path.is_dir():
        raise WeightsNotFound(role=role, reference="demo", hint="models/demo is incomplete; install the project again.")
    content = families.read_card(card)
    files = _digests(path, _files(path, role))
    for name, digest in files:
        listed = content.get("sha256", {}).get(f"{path.name}/{name}")
        if listed not in (None, digest):
            raise WeightsDamaged(path=f"demo/{path.name}/{name}", digest=digest)
    return Weights(
        role,
        content["name"],
        str(content["revision"]),
        content["licence"],
        path,
        files,
        family=families.parse_card(content, card),
    )


def _local(role: WeightsRole, path: Path, architecture: str | None) -> Weights:
    """Return local weights. Their revision is a hash of their files."""
    folder = path if path.is_dir() else path.parent
    files = _digests(folder, _files(path, role) if path.is_dir() else [path])
    _check_any(role, path.name, files)
    revision = files[0][1][:12] if len(files) == 1 else _digest_of_digests(files)[:12]
    card = folder / "family.json"
    family = families.parse_card(families.read_card(card), card) if path.is_dir() and card.is_file() else Family()
    return Weights(role, path.name, revision, find_licence(path), path, files, architecture, family)


def _hub(
    role: WeightsRole, repository: str, revision: str | None, file: str | None, architecture: str | None
) -> Weights:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if revision is None:
        raise not_pinned(role, repository)
    allowed, ignored = ([file], []) if file else (list(READ_BY[role]), list(HEAVY))
    try:
        folder = Path(_snapshot(repository, revision, allowed, ignored))
        if not file and not any(path.suffix in WEIGHT_SUFFIXES for path in _files(folder, role)):
            folder = Path(_snapshot(repository, revision, allowed, []))
    except LocalEntryNotFoundError as error:
        hint = "it is not in the local cache and the hub cannot be reached; download it on a machine with a network."
        raise WeightsNotFound(role=role, reference=repository, hint=hint) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise WeightsNotFound(role=role, reference=f"{repository}@{revision}", hint=first_line(error)) from error
    path = folder / file if file else folder
    if not path.exists():
        raise WeightsNotFound(role=role, reference=f"{repository}@{revision}", hint=f"it has no file {file}.")
    files = _digests(folder, _files(path, role) if path.is_dir() else [path])
    _check_any(role, f"{repository}@{revision}", files)
    return Weights(role, repository, folder.name, find_licence(path), path, files, architecture)


def _check_any(role: WeightsRole, reference: str, files: tuple[tuple[str, str], ...]) -> None:
    if not any(name.endswith(WEIGHT_SUFFIXES) for name, _ in files):
        raise WeightsNotFound(
            role=role, reference=reference, hint="it has no weight files for this role; check the path or id."
        )


def _snapshot(repository: str, revision: str, allowed: list[str], ignored: list[str]) -> str:
    import huggingface_hub

    patterns = [*allowed, "README.md"]
    return huggingface_hub.snapshot_download(
        repository, revision=revision, allow_patterns=patterns, ignore_patterns=ignored
    )


def find_licence(path: Path) -> str:
    """Return the licence in the header of the model card beside the weights, or `unknown`."""
    card = (path if path.is_dir() else path.parent) / "README.md"
    if not card.is_file():
        return "unknown"
    parts = card.read_text(encoding="utf-8", errors="replace").split("---", 2)
    named = _LICENCE.search(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    return named["licence"] if named else "unknown"


def _files(folder: Path, role: WeightsRole) -> list[Path]:
    """Return the files that the loaders read. If weights are there in several forms, only the preferred one."""
    found = sorted({path for pattern in READ_BY[role] for path in folder.glob(pattern) if path.is_file()})
    return [path for path in found if path.suffix not in WEIGHT_SUFFIXES or path in set(_preferred_files(found))]


def _preferred_files(found: list[Path]) -> Iterator[Path]:
    """Yield the weight files to read: safetensors before torch files, plain ones before a variant such as fp16."""
    weights = [path for path in found if path.suffix in WEIGHT_SUFFIXES]
    for folder in sorted({path.parent for path in weights}):
        own = [path for path in weights if path.parent == folder]
        safe = [path for path in own if path.suffix == ".safetensors"] or own
        plain = [path for path in safe if not _is_variant(path)] or safe
        yield from plain


def _is_variant(path: Path) -> bool:
    return path.stem.endswith((".fp16", ".bf16", ".non_ema", ".ema")) or bool(
        re.search(r"\.(fp16|bf16|non_ema|ema)-\d+-of-\d+$", path.stem)
    )


def _digests(folder: Path, files: list[Path]) -> tuple[tuple[str, str], ...]:
    return tuple((path.relative_to(folder).as_posix(), sha256_of(path)) for path in files)


def _digest_of_digests(files: tuple[tuple[str, str], ...]) -> str:
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
