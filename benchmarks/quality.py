"""Measure the quality of the demo family's shipped weights with stock loaders.

    python benchmarks/quality.py [--work .train] [--candidates 8] [--concepts 0] [--out demo-output/quality]

Needs the training art (`python scripts/train_demo.py data`). Writes OUT.json, OUT.md and contact sheets beside them.
"""

import argparse
import itertools
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import open_clip  # noqa: E402
import torch  # noqa: E402
from diffusers import StableDiffusionPipeline  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402
from torchvision.utils import save_image  # noqa: E402

from models.rendering.swinir import swinir_class  # noqa: E402
from scripts.demo_family import judge, material, measures, scenes, swinir  # noqa: E402

DEMO, JUDGE = ROOT / "models" / "demo", ROOT / "benchmarks" / "judge" / "model.safetensors"
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "pink", "purple", "orange", "light blue")


@dataclass
class Table:
    """The measured rows: name, value, lower limit, aim."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, name: str, value: str, least: str = "-", aim: str = "-") -> None:
        """Append and print a row."""
        self.rows.append((name, value, least, aim))
        print(f"{name:58} {value:>14}   at least {least:>8}   aim {aim}", flush=True)


@dataclass
class ShippedFamily:
    """The shipped networks, loaded with stock code, and the art for comparison."""

    work: Path
    card: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        start = time.perf_counter()
        self.card = json.loads((DEMO / "family.json").read_text())
        self.pipeline = StableDiffusionPipeline.from_pretrained(DEMO / "diffusion", torch_dtype=torch.float32)
        self.pipeline.set_progress_bar_config(disable=True)
        self.pipeline.unet.to(memory_format=torch.channels_last)
        self.clip, _, self.preprocess = open_clip.create_model_and_transforms(f"local-dir:{DEMO / 'clip'}")
        self.clip.eval()
        self.words = open_clip.get_tokenizer(f"local-dir:{DEMO / 'clip'}")
        self.upscaler = swinir_class()(**json.loads((DEMO / "swinir" / "config.json").read_text())).eval()
        state = {k: v.float() for k, v in load_file(DEMO / "swinir" / "model.safetensors").items()}
        self.upscaler.load_state_dict(state, strict=False)
        self.seconds = time.perf_counter() - start
        self.art = material.load(self.work)
        self.judge = judge.Judge(len(self.art.concepts))
        self.judge.load_state_dict({k: v.float() for k, v in load_file(JUDGE).items()}, strict=False)
        self.judge.eval()
        self.drawn = [i for i, c in enumerate(self.art.concepts) if c.noun in set(self.card["concepts"])]

    @torch.no_grad()
    def draw(self, prompt: str, count: int, seed: int) -> Tensor:
        """Return pictures (count, 3, H, W) in [0, 1], drawn with the family's own settings."""
        generators = [torch.Generator().manual_seed(seed + i) for i in range(count)]
        pixels: Tensor = self.pipeline(
            prompt,
            negative_prompt=self.card["negative_prompt"],
            num_inference_steps=self.card["steps"],
            guidance_scale=self.card["guidance_scale"],
            num_images_per_prompt=count,
            generator=generators,
            output_type="pt",
        ).images
        return pixels.float()

    @torch.no_grad()
    def image_rows(self, pixels: Tensor) -> Tensor:
        """Return CLIP's unit embeddings (N, D) of pictures (N, 3, H, W) in [0, 1]."""
        small = torch.nn.functional.interpolate(pixels, size=(64, 64), mode="bicubic", antialias=True).clamp(0, 1)
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (self.preprocess_mean, self.preprocess_std))
        rows: Tensor = self.clip.encode_image((small - mean) / deviation, normalize=True)
        return rows

    @property
    def preprocess_mean(self) -> list[float]:
        """The mean of CLIP's preprocessing, from the shipped configuration."""
        return list(json.loads((DEMO / "clip" / "open_clip_config.json").read_text())["preprocess_cfg"]["mean"])

    @property
    def preprocess_std(self) -> list[float]:
        """The standard deviation of CLIP's preprocessing, from the shipped configuration."""
        return list(json.loads((DEMO / "clip" / "open_clip_config.json").read_text())["preprocess_cfg"]["std"])

    @torch.no_grad()
    def text_rows(self, prompts: list[str]) -> Tensor:
        """Return CLIP's unit embeddings (N, D) of prompts."""
        rows: Tensor = self.clip.encode_text(self.words(prompts), normalize=True)
        return rows


def size_and_speed(family: ShippedFamily, table: Table) -> None:
    """Measure size, number of concepts, load time and the time for eight candidates."""
    megabytes = sum(p.stat().st_size for p in DEMO.rglob("*") if p.is_file()) / 1e6
    table.add("size of models/demo (MB)", f"{megabytes:.1f}", "<= 50", "<= 40")
    table.add("concepts on the card", str(len(family.drawn)), "300", "900")
    table.add("load of the family after imports (s)", f"{family.seconds:.1f}", "<= 3")
    family.draw("a photo of coffee", 8, 0)
    start = time.perf_counter()
    family.draw("a photo of coffee", 8, 0)
    table.add("8 candidates, 20 steps, text and decoding (s)", f"{time.perf_counter() - start:.1f}", "<= 15", "<= 8")


@torch.no_grad()
def reconstruction(family: ShippedFamily, table: Table) -> None:
    """Measure the autoencoder, CLIP and the judge on new composites, and SwinIR against bicubic interpolation."""
    pixels, _ = material.held_out(family.art, 256)
    vae = family.pipeline.vae
    parts = [vae.decode(vae.encode(p * 2 - 1).latent_dist.mode()).sample / 2 + 0.5 for p in pixels.split(32)]
    table.add("VAE on new composites (dB)", f"{measures.decibels(torch.cat(parts), pixels):.1f}", "31", "34")
    single, alone = material.held_out(family.art, 512, seed=998, pairs=0.0)
    prompts = family.text_rows([f"a photo of {c.noun}" for c in family.art.concepts])
    best = torch.cat([(family.image_rows(p) @ prompts.T).argmax(1) for p in single.split(64)])
    table.add(
        "CLIP, new composites, top-1 of all concepts", f"{format_share(best == alone.concepts[:, 0])}", "0.85", "0.95"
    )
    table.add(
        "judge on new composites, one thing",
        format_share(measures.named(family.judge, single, alone.concepts)),
        "0.95",
        "0.98",
    )
    double, both = material.held_out(family.art, 512, seed=996, pairs=1.0)
    two = both.concepts[:, 1] >= 0  # a few pairs show one thing twice
    table.add(
        "judge on new composites, two things", format_share(measures.named(family.judge, double, both.concepts)[two])
    )
    large = swinir.sharp(family.art, 64, seed=material.UNSEEN + 77)
    small = swinir.shrink(large)
    enlarged = torch.cat([family.upscaler(p) for p in small.split(8)])
    gain = measures.decibels(enlarged, large) - measures.decibels(measures.enlarged(small), large)
    table.add("SwinIR x4 over bicubic, new composites (dB)", f"{gain:+.2f}", "+1.0", "+2")


def pictures(family: ShippedFamily, table: Table, candidates: int, limit: int, out: Path) -> None:
    """Measure one prompt per concept: first candidate, best by CLIP, sharpness and kernel distance."""
    chosen = family.drawn[:limit] if limit else family.drawn
    prompts = [f"a photo of {family.art.concepts[i].noun}" for i in chosen]
    drawn = [family.draw(prompt, candidates, 1000 * n) for n, prompt in enumerate(prompts)]
    wanted = torch.tensor([[i, -1] for i in chosen])
    first = torch.stack([d[0] for d in drawn])
    best = best_by_clip(family, drawn, prompts)
    table.add(
        "judge names the concept, first candidate",
        format_share(measures.named(family.judge, first, wanted)),
        "0.92",
        "0.98",
    )
    table.add(
        f"judge, best of {candidates} by CLIP", format_share(measures.named(family.judge, best, wanted)), "0.97", "0.99"
    )
    real, _ = material.held_out(replace(family.art, seldom=0.0), 256, seed=997, pairs=0.0)
    ratio = measures.sharpness(torch.cat(drawn)) / measures.sharpness(real)
    table.add("sharpness against new composites", f"{ratio:.2f}", "0.80", "0.95")
    table.add("KID on the judge's features", f"{measures.kernel_distance(family.judge, torch.cat(drawn), real):.3f}")
    save_image(torch.cat([d[:4] for d in drawn]), out.with_name("seeds.png"), nrow=24)
    save_image(torch.nn.functional.avg_pool2d(upscale(family, best), 2), out.with_name("concepts.png"), nrow=15)


def requested_scenes(family: ShippedFamily, table: Table, candidates: int, out: Path) -> None:
    """Measure prompts for two things, and for backgrounds in named colours."""
    pairs = list(itertools.islice(zip(family.drawn[::2], family.drawn[1::2], strict=False), 24))
    nouns = [[family.art.concepts[i].noun for i in pair] for pair in pairs]
    prompts = [f"a photo of {a} and {b}" for a, b in nouns]
    drawn = [family.draw(prompt, candidates, 500 * n) for n, prompt in enumerate(prompts)]
    best = best_by_clip(family, drawn, prompts)
    both = measures.named(family.judge, best, torch.tensor(pairs))
    table.add(f"two things, both named, best of {candidates}", format_share(both), "0.70", "0.90")
    save_image(upscale(family, best), out.with_name("pairs.png"), nrow=8)
    things = [family.art.concepts[i].noun for i in family.drawn[:: max(1, len(family.drawn) // 4)]][:4]
    requests = [(thing, colour) for thing in things for colour in COLOURS]
    shown = torch.cat(
        [family.draw(f"a photo of {t} on a {c} background", 1, 7 + n) for n, (t, c) in enumerate(requests)]
    )
    right = measures.backgrounds(shown) == torch.tensor([scenes.NAMES.index(c) for _, c in requests])
    table.add("background colour as asked (nearest of 14 names)", format_share(right), "0.90", "0.97")
    save_image(shown, out.with_name("colours.png"), nrow=10)


def best_by_clip(family: ShippedFamily, drawn: list[Tensor], prompts: list[str]) -> Tensor:
    """Return each prompt's candidate with the highest CLIP score, (N, 3, H, W)."""
    rows = family.text_rows(prompts)
    picks = [int((family.image_rows(d) @ row).argmax()) for d, row in zip(drawn, rows, strict=True)]
    return torch.stack([d[i] for d, i in zip(drawn, picks, strict=True)])


@torch.no_grad()
def upscale(family: ShippedFamily, pixels: Tensor) -> Tensor:
    """Return the pictures enlarged four times by the shipped SwinIR."""
    return torch.cat([family.upscaler(part) for part in pixels.split(8)]).clamp(0, 1)


def format_share(hits: Tensor) -> str:
    """Return the share of hits with two decimals."""
    return f"{hits.float().mean():.2f}"


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".train")
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--concepts", type=int, default=0, help="measure only the first N (0: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "demo-output" / "quality")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    family, table = ShippedFamily(options.work), Table()
    stages: list[Callable[[], None]] = [
        lambda: size_and_speed(family, table),
        lambda: reconstruction(family, table),
        lambda: pictures(family, table, options.candidates, options.concepts, options.out),
        lambda: requested_scenes(family, table, options.candidates, options.out),
    ]
    for stage in stages:
        stage()
    write(table, family, options.out)


def write(table: Table, family: ShippedFamily, out: Path) -> None:
    """Write the table as JSON, with machine and date, and as Markdown."""
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    head = {"revision": family.card["revision"], "date": time.strftime("%Y-%m-%d"), "machine": machine}
    out.with_suffix(".json").write_text(json.dumps({**head, "rows": table.rows}, indent=2) + "\n")
    lines = [
        "| what | measured | at least | aim |",
        "|---|---|---|---|",
        *("| " + " | ".join(r) + " |" for r in table.rows),
    ]
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
