"""The command line of the recipe: stages in order, each resumable, each within its own budget."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from . import clip, export, judge, material, restore, swinir, text, unet, vae
from .crew import Crew
from .training import Budget

ROOT = Path(__file__).resolve().parents[2]
JUDGE = ROOT / "benchmarks" / "judge" / "model.safetensors"
ORDER = ("data", "restore", "text", "vae", "clip", "judge", "unet", "swinir", "export")
HOURS = {"text": 0.25, "vae": 1.0, "clip": 0.7, "judge": 0.5, "unet": 8.0, "swinir": 0.5}
FITS: dict[str, Callable[..., object]] = {
    "text": text.fit,
    "vae": vae.fit,
    "clip": clip.fit,
    "judge": judge.fit,
    "unet": unet.fit,
    "swinir": swinir.fit,
}
SHARED = ("text", "unet")  # stages that a crew may share


def main() -> None:
    """Run the stages named on the command line."""
    options = parse(sys.argv[1:])
    if options.threads:
        torch.set_num_threads(options.threads)
    stages = [stage for stage in ORDER if stage in options.stages or ("all" in options.stages and stage != "restore")]
    if "DEMO_RANK" in os.environ:  # one of a crew, started by `gather`
        stages = [os.environ["DEMO_STAGE"]]
    for stage in stages:
        if stage == "data":
            material.prepare(options.work)
        elif stage == "restore":
            restore.restore(options.work, ROOT / "models" / "demo", JUDGE)
        elif stage == "export":
            ship(options.work, options.revision)
        else:
            learn(stage, options)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = argparse.ArgumentParser(prog="train_demo.py", description=__doc__)
    parser.add_argument("stages", nargs="+", choices=[*ORDER, "all"], metavar="STAGE", help=", ".join([*ORDER, "all"]))
    parser.add_argument("--work", type=Path, default=ROOT / ".train", help="where art and checkpoints lie")
    parser.add_argument("--hours", type=float, help="budget of a stage, over all its runs")
    parser.add_argument("--steps", type=int, default=1_000_000, help="the same as a number of steps")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="threads of this process")
    parser.add_argument("--workers", type=int, default=1, help="processes at text and unet, one thread each")
    parser.add_argument("--revision", default="demo-2026.11.1", help="what family.json says of the export")
    return parser.parse_args(arguments)


def learn(stage: str, options: argparse.Namespace) -> None:
    """Train one stage within its budget; some may be shared by several processes."""
    budget = Budget(options.steps, options.hours or HOURS[stage])
    device = torch.device(options.device)
    shared = {"crew": gather(stage, options)} if stage in SHARED and options.workers > 1 else {}
    FITS[stage](options.work, budget, device, **shared)


def gather(stage: str, options: argparse.Namespace) -> Crew:
    """Join the crew as the process the environment names; number 0 starts the others with the same command line."""
    rank = int(os.environ.get("DEMO_RANK", "0"))
    torch.set_num_threads(1)
    meeting = options.work / f"meeting-{os.environ.get('DEMO_CREW', os.getpid())}"
    if rank == 0:
        for other in range(1, options.workers):
            environment = {**os.environ, "DEMO_RANK": str(other), "DEMO_CREW": str(os.getpid()), "DEMO_STAGE": stage}
            subprocess.Popen([sys.executable, *sys.argv], env=environment)
    return Crew.join(rank, options.workers, meeting)


def ship(work: Path, revision: str) -> None:
    """Write models/demo/ and the judge that the quality table needs."""
    export.export(work, ROOT / "models" / "demo", revision)
    JUDGE.parent.mkdir(parents=True, exist_ok=True)
    state = judge.trained(work, torch.device("cpu")).state_dict()
    halves = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
    save_file(halves, JUDGE)
