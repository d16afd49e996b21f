"""The shipped weights open in stock libraries without code of this project, and match their card."""

import hashlib
import json
from pathlib import Path

import open_clip
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from spandrel import ModelLoader
from tokenizers import Tokenizer

from scripts.demo_family import concepts
from scripts.demo_family.concepts import Concept
from scripts.demo_family.export import export
from scripts.demo_family.restore import restore

DEMO = Path(__file__).resolve().parents[2] / "models" / "demo"
CARD = json.loads((DEMO / "family.json").read_text())


def test_every_file_has_its_sha256_on_the_card() -> None:
    found = {p.relative_to(DEMO).as_posix() for p in DEMO.rglob("*") if p.is_file() and p.parent != DEMO}
    assert found == set(CARD["sha256"])
    for name, digest in CARD["sha256"].items():
        assert hashlib.sha256((DEMO / name).read_bytes()).hexdigest() == digest


def test_the_family_is_smaller_than_50_mb() -> None:
    assert sum(p.stat().st_size for p in DEMO.rglob("*") if p.is_file()) < 50e6


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_training_can_resume_from_the_shipped_weights(tmp_path: Path) -> None:
    """Restoring and exporting the family gives the same bytes. A second restore overwrites no checkpoint."""
    judged = DEMO.parents[1] / "benchmarks" / "judge" / "model.safetensors"
    trained_on = len(load_file(judged)["head.bias"])
    shown = [Concept(n, n, tuple(CARD["vocabulary"][n]), (), "", n, True) for n in CARD["concepts"]]
    others = [Concept(f"other {n}", f"other {n}", (), (), "", str(n), False) for n in range(trained_on - len(shown))]
    concepts.save([*shown, *others], tmp_path / "concepts.json")
    restore(tmp_path, DEMO, judged)
    export(tmp_path, tmp_path / "demo", CARD["revision"])
    assert json.loads((tmp_path / "demo" / "family.json").read_text()) == CARD
    checkpoint = tmp_path / "unet" / "checkpoint.pt"
    checkpoint.write_bytes(b"further on")
    restore(tmp_path, DEMO, judged)
    assert checkpoint.read_bytes() == b"further on"


pytestmark = pytest.mark.filterwarnings("ignore:__array__", "ignore:torch.meshgrid")


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionPipeline:
    stock = StableDiffusionPipeline.from_pretrained(DEMO / "diffusion", torch_dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    return stock


def test_stock_diffusers_draws_the_requested_background(pipeline: StableDiffusionPipeline) -> None:
    def border(colour: str) -> torch.Tensor:
        drawn = pipeline(
            f"a photo of an apple on a {colour} background",
            num_inference_steps=8,
            guidance_scale=CARD["guidance_scale"],
            generator=torch.Generator().manual_seed(1),
            output_type="pt",
        ).images
        assert drawn.shape == (1, 3, CARD["size"], CARD["size"])
        return drawn[0, :, :4].mean((1, 2))

    assert border("blue").argmax() == 2
    assert border("red").argmax() == 0


def test_the_worker_counts_the_same_tokens_as_the_pipeline(pipeline: StableDiffusionPipeline) -> None:
    light = Tokenizer.from_file(str(DEMO / "diffusion" / "tokenizer" / "tokenizer.json"))
    prompt = "an advertising photo of coffee and croissant, espresso, fair trade, on a wooden table, soft light"
    assert light.encode(prompt).ids == pipeline.tokenizer(prompt).input_ids
    assert pipeline.tokenizer.model_max_length == 77
    assert "<unk>" not in light.encode("quokka zzyzx 4711").tokens


def test_stock_open_clip_distinguishes_concepts(pipeline: StableDiffusionPipeline) -> None:
    source = f"local-dir:{DEMO / 'clip'}"
    model, _, preprocess = open_clip.create_model_and_transforms(source)
    words = open_clip.get_tokenizer(source)
    model.eval()
    with torch.no_grad():
        rows = model.encode_text(
            words(["a photo of coffee", "a photo of espresso", "a photo of a car"]), normalize=True
        )
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2
    assert preprocess.transforms[0].size == 64
    text = pipeline.text_encoder(torch.tensor([pipeline.tokenizer("a photo of coffee").input_ids])).pooler_output
    own = torch.nn.functional.normalize(text @ model.text_projection, dim=-1)
    assert torch.allclose(own[0], rows[0], atol=2e-2)


def test_spandrel_opens_swinir_which_keeps_the_colour() -> None:
    found = ModelLoader().load_from_state_dict(dict(load_file(DEMO / "swinir" / "model.safetensors")))
    assert (found.architecture.id, found.scale) == ("SwinIR", 4)
    flat = torch.tensor([0.8, 0.5, 0.2]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    with torch.no_grad():
        large = found.model.float().eval()(flat)
    inside = large[:, :, 16:-16, 16:-16]
    assert torch.allclose(inside, flat[:, :, :1, :1].expand_as(inside), atol=0.03)
