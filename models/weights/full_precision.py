"""The diffusion networks in float32, for training and for merging what training learned."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.devices import module_device
from models.errors import WeightsDamaged
from models.weights import catalog, pipelines
from models.weights.catalog import Weights
from models.weights.pipelines import Pipeline


class FullPrecision:
    """The float32 weights behind `pipeline`, whose networks may be in a narrower precision.

    A narrower weight has lost digits of its file, and a small learned change vanishes in it. This class reads the file
    again instead; a studio in float32 has nothing to read.
    """

    def __init__(self, pipeline: Pipeline, weights: Weights) -> None:
        self._pipeline = pipeline
        self._weights = weights
        self._kept: dict[str, Tensor] = {}

    def pipeline(self) -> Any:
        """Return a pipeline in float32 on the device, with the sampler of the studio's own.

        Raises a WeightsError, such as WeightsDamaged if a file has changed since the studio opened.
        """
        own = self._pipeline
        if all(module.dtype == torch.float32 for module in (own.unet, own.vae, own.text_encoder)):
            return own
        loaded = self._load()
        loaded.scheduler = copy.deepcopy(own.scheduler)
        loaded.to(module_device(own.unet))
        for network in (loaded.unet, loaded.vae):  # as DiffusionGenerator lays them out
            network.to(memory_format=torch.channels_last)
        return loaded

    def unet_weights(self, names: set[str]) -> Mapping[str, Tensor]:
        """Return UNet parameters by name, in float32. The first call reads the file and keeps them in main memory."""
        if self._pipeline.unet.dtype == torch.float32:
            return dict(self._pipeline.unet.named_parameters())
        if not names <= self._kept.keys():
            own = dict(self._load().unet.named_parameters())
            self._kept |= {name: own[name].detach() for name in names & own.keys()}
        return self._kept

    def _load(self) -> Pipeline:
        changed = catalog.changed_file(self._weights)
        if changed is not None:
            raise WeightsDamaged(path=changed[0], digest=changed[1])
        return pipelines.load(self._weights, torch.float32)
