"""The precision of each network, and the check that a network's output is finite.

Decision 0022 has the measurements behind the defaults; `python -m benchmarks.precision` repeats them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain

import torch
from torch import nn

from models.devices import dtype_named
from models.errors import NonFiniteOutput


@dataclass(frozen=True)
class Precisions:
    """The precision of each network. diffusion: the UNet and its text encoders, which diffusers keeps equal."""

    diffusion: torch.dtype
    vae: torch.dtype
    reranking: torch.dtype
    upscaling: torch.dtype

    def recipe_settings(self) -> dict[str, str]:
        """Return the recipe's entries: `dtype` for the diffusion networks, and one for each other network."""
        names = {network: dtype_name(dtype) for network, dtype in asdict(self).items()}
        return {"dtype": names.pop("diffusion")} | {f"dtype_{network}": name for network, name in names.items()}


def choose_precisions(name: str, device: torch.device) -> Precisions:
    """Return the precisions for a setting: `auto` is float16 on CUDA and float32 elsewhere. Raises DeviceUnavailable.

    A network that overflows in float16 goes back to float32 (VAE, SwinIR) or is a named error.
    """
    return Precisions(*[dtype_named(name, device)] * 4)


class ReducedPrecision:
    """A network in `dtype`, narrower than float32, that can go back to its own float32 weights for good.

    The float32 weights stay in main memory, because a weight that does not fit into `dtype` is lost in the network.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        self.network = network
        self._own: dict[str, torch.Tensor] = {}
        if dtype != torch.float32:
            self._own = {name: value.detach().to("cpu", torch.float32, copy=True) for name, value in self._values()}
            network.to(dtype)

    @property
    def is_reduced(self) -> bool:
        """Whether the network is narrower than float32 now."""
        return bool(self._own)

    def restore_float32(self) -> None:
        """Give the network its float32 weights back, and free their copy."""
        for name, value in self._values():
            value.data = self._own[name].to(value.device)
        self._own.clear()

    def _values(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield all floating-point parameters and buffers by name."""
        everything = chain(self.network.named_parameters(), self.network.named_buffers())
        return ((name, value) for name, value in everything if value.is_floating_point())


def dtype_name(dtype: torch.dtype) -> str:
    """Return torch's name without its module: `float16`."""
    return str(dtype).removeprefix("torch.")


def finite_rows(values: torch.Tensor) -> torch.Tensor:
    """Return a mask (N,): whether all values of each row (N,...) are finite numbers."""
    return values.isfinite().flatten(1).all(1)


def non_finite(network: str, dtype: torch.dtype) -> NonFiniteOutput:
    """Return the error for a network whose output in `dtype` is not finite."""
    if dtype == torch.float32:
        advice = "Its weights are damaged or unsound: download them again, or choose others"
    else:
        advice = "Set CREATIVES_STUDIO__DTYPE to bfloat16 or float32"
    return NonFiniteOutput(network=network, precision=dtype_name(dtype), advice=advice)
