"""Stage `unet`: the denoiser, on latents of new scenes for every step, and the finished text encoder.

v-prediction (Salimans and Ho 2022), min-SNR weighting (Hang et al. 2023), a schedule that ends in pure noise
(Lin et al. 2024), classifier-free guidance by dropped captions (Ho and Salimans 2022).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torchvision.utils import save_image
from transformers import CLIPTextModel

from . import captions, latents, material, scenes, text, tokens, vae
from .crew import ALONE, Crew
from .training import Budget, Recipe, Run, averaged, train

RECIPE = Recipe(rate=1e-3, decay=0.01, ema=0.998, warmup=100, cooldown=0.3, save_minutes=6)
SELDOM = 0.05  # pictures cost a thousand times what captions do: few of what need not be drawn
DROPPED = 0.1  # captions replaced by nothing or by a usual negative prompt
NEGATIVE = "blurry, low quality, deformed, text, watermark"
FLAWS = ("blurry", "low quality", "deformed", "text", "watermark", "ugly", "bad anatomy", "out of focus", "cropped",
         "worst quality", "jpeg artifacts", "signature", "noise", "dark", "duplicate", "logo")  # fmt: skip
PROMPTS = (
    "an advertising photo of coffee and croissant, espresso, latte, cafe, morning, cozy, coffee enthusiast",
    "an advertising photo of cooking pot and vegetables, cooking enthusiast, recipe, home chef, on a wooden table",
    "an advertising photo of salad and avocado, healthy vegan, organic, fresh, green background",
    "a photo of a glass of milk", "milk carton on a blue background", "a product photo of jam, on a red table",
    "bread with jam", "a photo of a burger and fries", "pizza on a black background", "a dog", "a photo of a cat",
    "a cook", "runner, sport, fitness", "a cartoon of a strawberry", "an illustration of an airplane",
    "a photo of a laptop on a yellow background, soft light",
)  # fmt: skip


def network() -> UNet2DConditionModel:
    """Three levels from 16 x 16; text enters at 8 x 8 and 4 x 4."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=latents.CHANNELS,
        out_channels=latents.CHANNELS,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(4, 8, 12),
        cross_attention_dim=text.WIDTH,
        norm_num_groups=16,
    )


def scheduler() -> DPMSolverMultistepScheduler:
    """The family's scheduler (Lu et al. 2022, DPM-Solver++ 2M); it also defines the noise of training."""
    return DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


@dataclass(frozen=True)
class Source:
    """What a step draws from: the art, the pixels' code, and the words' encoder."""

    art: material.Art
    code: latents.Code
    writer: captions.Writer
    tokenizer: Tokenizer
    encoder: CLIPTextModel
    device: torch.device

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Tensor:
        """The text states (n, 77, 128) of `prompts`."""
        ids = torch.tensor([row.ids for row in self.tokenizer.encode_batch(prompts)], device=self.device)
        states: Tensor = self.encoder(input_ids=ids).last_hidden_state
        return states

    @torch.no_grad()
    def batch(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """`count` new composites as latents, and the states of their captions, some of them dropped."""
        pixels, shown = material.compose(self.art, count, seed)
        rng = Random(seed)  # noqa: S311
        z = latents.encode(self.code, pixels * 2 - 1).to(self.device)
        return z, self.embed([self.caption(shown, i, rng) for i in range(count)])

    def caption(self, shown: scenes.Scenes, i: int, rng: Random) -> str:
        """A caption of scene `i`; a dropped one is empty or lists flaws, so that both mean "anything"."""
        if rng.random() >= DROPPED:
            return self.writer.caption(shown, i, rng)
        return rng.choice(("", NEGATIVE, ", ".join(rng.sample(FLAWS, rng.randint(1, 6)))))


def source(work: Path, device: torch.device) -> Source:
    """Gather a step's sources."""
    art, tokenizer = material.load(work), tokens.load(work / "tokenizer")
    encoder = text.trained(work, device).encoder
    return Source(
        replace(art, seldom=SELDOM), vae.code(work), captions.Writer(art.concepts), tokenizer, encoder, device
    )


class Float32Attention(TorchFunctionMode):
    """Attention in float32: on a CPU its backward pass in bfloat16 is several times as slow, and eats up the gain."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **kwargs or {})
        query, key, value, *others = args
        with torch.autocast(query.device.type, enabled=False):
            answer = func(query.float(), key.float(), value.float(), *others, **kwargs or {})
        return answer.to(query.dtype)


@contextmanager
def mixed_precision(device: torch.device) -> Iterator[None]:
    """Compute in bfloat16 on a GPU, and on a CPU that multiplies it; elsewhere in float32."""
    on_cpu = device.type == "cpu"
    enabled = not on_cpu or bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    attention = Float32Attention() if on_cpu and enabled else nullcontext()
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled), attention:
        yield


def fit(work: Path, budget: Budget, device: torch.device, batch: int = 24, crew: Crew = ALONE) -> UNet2DConditionModel:
    """Train the denoiser."""
    stuff = source(work, device)
    torch.manual_seed(RECIPE.seed)
    model = network().to(device)
    kept = scheduler().alphas_cumprod.to(device)

    def loss(step: int) -> Tensor:
        z, states = stuff.batch(batch, RECIPE.seed + step)
        t = ((torch.randperm(batch) + torch.rand(batch)) * 1000 / batch).long().to(device)
        return denoising(model, z, states, t, kept)

    def sheet(current: nn.Module, path: Path) -> None:
        assert isinstance(current, UNet2DConditionModel)
        z = sample(current, stuff.embed(list(PROMPTS)), stuff.embed([NEGATIVE]), 4.0)
        save_image((latents.decode(stuff.code, z) / 2 + 0.5).clamp(0, 1), path, nrow=8)

    train(model, loss, Run(work / "unet", device, sheet, crew), budget, RECIPE)
    return model


def denoising(model: UNet2DConditionModel, z: Tensor, states: Tensor, t: Tensor, kept: Tensor) -> Tensor:
    """The weighted v-prediction loss at timesteps `t` (n,); `kept` is the cumulative signal share."""
    signal, noise_share = kept[t].sqrt().view(-1, 1, 1, 1), (1 - kept[t]).sqrt().view(-1, 1, 1, 1)
    noise = torch.randn(z.shape).to(z)
    noisy, target = signal * z + noise_share * noise, signal * noise - noise_share * z
    snr = kept[t] / (1 - kept[t])
    weight = (snr.clamp(max=5) / (snr + 1)).clamp(min=0.2)  # the floor: pure noise must be learned too
    with mixed_precision(z.device):
        answer = model(noisy, t, states).sample
    error: Tensor = (answer.float() - target).square().mean((1, 2, 3))
    return (weight * error).mean()


@torch.no_grad()
def sample(model: UNet2DConditionModel, states: Tensor, nothing: Tensor, guidance: float, seed: int = 0) -> Tensor:
    """Latents (n, 16, 16, 16) for text states (n, 77, 128): 20 steps with guidance away from `nothing` (1, 77, 128)."""
    solver = scheduler()
    solver.set_timesteps(20)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(len(states), latents.CHANNELS, 16, 16, generator=generator).to(states)
    both = torch.cat([nothing.expand_as(states), states])
    for t in solver.timesteps:
        free, led = model(torch.cat([z, z]), t, both).sample.chunk(2)
        z = solver.step(free + guidance * (led - free), t, z).prev_sample
    return z


def trained(work: Path, device: torch.device) -> UNet2DConditionModel:
    """The denoiser as the last checkpoint has it."""
    model = averaged(network(), work / "unet", device)
    assert isinstance(model, UNet2DConditionModel)
    return model
