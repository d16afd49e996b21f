"""A cache of concepts (trained products) on the device, which puts one into the model for a block of code.

A concept replaces the values of some parameters and, for Textual Inversion, the tokenizer by a longer one. To apply it,
the shelf points those parameters at other memory, and points them back afterwards. It adds nothing to the networks and
copies nothing back, so afterwards the model is the same bit for bit.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.briefs import Brief, Concept
from models.devices import module_device
from models.errors import WeightsDamaged, WrongArchitecture
from models.networks import FullPrecision
from models.stages import StepCallback, ignore_steps
from models.weights import checkpoints, original_layout

Key = tuple[tuple[str, str], ...]
"""Product id and sha256 of each concept."""


@dataclass(frozen=True)
class LoadedConcept:
    """A concept on the device: the values of the parameters that it changes, and a tokenizer with the placeholder."""

    values: tuple[tuple[nn.Parameter, Tensor], ...]
    tokenizer: Any


class ConceptShelf:
    """A cache of the last used concepts. limit: the most that it holds; a DreamBooth one is as large as the UNet.

    full_precision: the base weights to add adapters to; None: those of the pipeline itself.
    """

    def __init__(self, limit: int, full_precision: FullPrecision | None = None) -> None:
        self._limit = limit
        self._full_precision = full_precision
        self._shelf: OrderedDict[Key, LoadedConcept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shelf)

    def forget(self, product_id: str) -> None:
        """Drop every entry with a concept of this product, and free its memory."""
        for key in [key for key in self._shelf if any(product == product_id for product, _ in key)]:
            del self._shelf[key]

    @contextmanager
    def apply(self, pipeline: Any, concepts: Sequence[Concept], report: StepCallback = ignore_steps) -> Iterator[None]:
        """Put the concepts into `pipeline` for the block: several of Textual Inversion, or one of another method.

        report: called while a file is read; it may raise to end the call.
        Raises WeightsNotFound, WeightsDamaged (the sha256 differs), WrongArchitecture (it is of another model).
        """
        if not concepts:
            yield
            return
        loaded = self._get_or_load(pipeline, concepts, report)
        before = pipeline.tokenizer
        with ExitStack() as stack:
            stack.callback(setattr, pipeline, "tokenizer", before)
            for parameter, value in loaded.values:
                stack.callback(setattr, parameter, "data", parameter.data)
                parameter.data = value
            pipeline.tokenizer = loaded.tokenizer
            yield

    def _get_or_load(self, pipeline: Any, concepts: Sequence[Concept], report: StepCallback) -> LoadedConcept:
        key = tuple((concept.product_id, concept.sha256) for concept in concepts)
        if key not in self._shelf:
            while len(self._shelf) >= self._limit:
                self._shelf.popitem(last=False)
            self._shelf[key] = _load(pipeline, concepts, report, self._full_precision)
        self._shelf.move_to_end(key)
        return self._shelf[key]


def _weights_key(concept: Concept | None) -> str:
    """Return a key of the weights that the networks need; Textual Inversion changes only the embedding table."""
    return "base" if concept is None or concept.method == "textual_inversion" else concept.sha256


def group_by_concept(briefs: Sequence[Brief]) -> list[Brief]:
    """Return the briefs in an order that loads each concept once.

    It groups them by weights, and within those by concept. Groups and briefs stay in the order of first appearance.
    """
    groups: dict[str, dict[Concept | None, list[Brief]]] = {}
    for brief in briefs:
        groups.setdefault(_weights_key(brief.concept), {}).setdefault(brief.concept, []).append(brief)
    return [brief for concepts in groups.values() for members in concepts.values() for brief in members]


def _load(
    pipeline: Any, concepts: Sequence[Concept], report: StepCallback, full_precision: FullPrecision | None
) -> LoadedConcept:
    if all(concept.method == "textual_inversion" for concept in concepts):
        return _load_words(pipeline, concepts, report)
    if len(concepts) > 1:
        methods = ", ".join(concept.method for concept in concepts)
        detail = f"only Textual Inversion concepts can be combined, not {methods}"
        raise WrongArchitecture(path="concepts", architecture="one brief", detail=detail)
    tensors, path = _tensors(concepts[0], report), concepts[0].path
    if concepts[0].method == "dreambooth_lora":
        values = _adapted_weights(pipeline, tensors, path, full_precision)
    else:
        values = _full_weights(pipeline, tensors, path)
    return LoadedConcept(tuple(values), pipeline.tokenizer)


def _tensors(concept: Concept, report: StepCallback) -> checkpoints.StateDict:
    path = Path(concept.path)
    tensors = checkpoints.read(path, "concept", report)
    digest = checkpoints.sha256_of(path, report)
    if digest != concept.sha256:
        raise WeightsDamaged(path=path.name, digest=digest)
    return tensors


def _load_words(pipeline: Any, concepts: Sequence[Concept], report: StepCallback) -> LoadedConcept:
    """Append the words' vectors to the embedding table, at the ids that a copy of the tokenizer assigns to them."""
    tokenizer = copy.deepcopy(pipeline.tokenizer)
    table = pipeline.text_encoder.get_input_embeddings().weight
    rows = [table.data[: len(tokenizer)]]
    for concept in concepts:
        for token, vectors in _tensors(concept, report).items():
            names = [token, *(f"{token}_{number}" for number in range(1, len(vectors)))]
            if vectors.shape[1:] != table.shape[1:] or tokenizer.add_tokens(names) != len(names):
                detail = f"{token} is already a token of the model, or its vectors are not {table.shape[1]} wide"
                raise WrongArchitecture(path=Path(concept.path).name, architecture="this text encoder", detail=detail)
            rows.append(vectors.to(table.device, table.dtype))
    return LoadedConcept(((table, torch.cat(rows)),), tokenizer)


def _full_weights(pipeline: Any, tensors: checkpoints.StateDict, path: str) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Yield the UNet's parameters with the trained values, and the text encoder's if the file has them."""
    unet, text = tensors, checkpoints.StateDict()
    if original_layout.is_original(tensors):
        unet, text = original_layout.split_original(tensors, pipeline.unet, pipeline.text_encoder)
    for module, values in ((pipeline.unet, unet), *([(pipeline.text_encoder, text)] if text else [])):
        parameters = dict(module.named_parameters())
        for name, parameter in parameters.items():
            value = values.get(name)
            if value is None or value.shape != parameter.shape:
                detail = f"it has no {name} of shape {tuple(parameter.shape)}"
                raise WrongArchitecture(path=Path(path).name, architecture=type(module).__name__, detail=detail)
            yield parameter, torch.empty_like(parameter.data).copy_(value)


def _adapted_weights(
    pipeline: Any, tensors: checkpoints.StateDict, path: str, full_precision: FullPrecision | None
) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Yield the adapted parameters, W + B A (Hu et al. 2021, section 4.1; alpha equals the rank).

    Adding the product once makes rendering as fast as with the base model. W comes from the weights' own file,
    because rounding it first would drop the small changes; the sum is rounded once.
    """
    unet = pipeline.unet
    parameters, device = dict(unet.named_parameters()), module_device(unet)
    down = ".lora_A.weight"
    targets = [name.removeprefix("unet.").removesuffix(down) for name in tensors if name.endswith(down)]
    for target in targets:
        parameter = parameters.get(f"{target}.weight")
        first, second = (tensors.get(f"unet.{target}.lora_{part}.weight") for part in "AB")
        if parameter is None or first is None or second is None or not _fits(first, second, parameter):
            detail = f"{target} does not fit"
            raise WrongArchitecture(path=Path(path).name, architecture="this UNet", detail=detail)
    names = {f"{target}.weight" for target in targets}
    base = parameters if full_precision is None else full_precision.unet_weights(names)
    for target in targets:
        first, second = (tensors[f"unet.{target}.lora_{part}.weight"].to(device, torch.float32) for part in "AB")
        parameter = parameters[f"{target}.weight"]
        yield (
            parameter,
            (base[f"{target}.weight"].detach().to(device, torch.float32) + second @ first).to(parameter.dtype),
        )


def _fits(first: Tensor, second: Tensor, parameter: Tensor) -> bool:
    """Return whether the adapters `first` (r,in) and `second` (out,r) fit the parameter (out,in)."""
    return (second.shape[0], first.shape[1]) == tuple(parameter.shape) and first.shape[0] == second.shape[1]
