"""The float32 weights behind a studio in half precision: small learned changes survive in them."""

import dataclasses
import shutil

import pytest
import torch
from safetensors.torch import load_file

from models.briefs import Brief, Concept
from models.errors import WeightsDamaged
from models.opening import open_studio
from models.weights.checkpoints import sha256_of
from models.weights.tensor_file import write_tensors

UNET = "unet/diffusion_pytorch_model.safetensors"
TARGET = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture(scope="module", params=["float16", "bfloat16"])
def studio(request, tiny_plan, tmp_path_factory):
    folder = shutil.copytree(tiny_plan.diffusion, tmp_path_factory.mktemp("half") / "diffusion")
    return open_studio(dataclasses.replace(tiny_plan, diffusion=str(folder), dtype=request.param))


def adapter(folder, parameter, change):
    """Write a LoRA concept that adds `change` to every place of TARGET."""
    first = torch.full((1, parameter.shape[1]), change)
    tensors = {f"unet.{TARGET}.lora_A.weight": first, f"unet.{TARGET}.lora_B.weight": torch.ones(len(parameter), 1)}
    write_tensors(tensors, folder / "concept.safetensors", {})
    path = folder / "concept.safetensors"
    return Concept("jam", "dreambooth_lora", str(path), sha256_of(path), "sks", "jar of jam")


def test_the_float32_pipeline_holds_the_files_own_weights(studio):
    pipeline = studio.full_precision_pipeline()
    own = load_file(f"{studio.plan.diffusion}/{UNET}")
    found = pipeline.unet.state_dict()
    assert all(torch.equal(found[name], value) for name, value in own.items())
    assert {module.dtype for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder)} == {torch.float32}
    assert pipeline.scheduler.config == studio.generator.pipeline.scheduler.config
    assert studio.generator.pipeline.unet.dtype == getattr(torch, studio.plan.dtype)


def test_adapters_are_added_to_the_files_own_weights_and_rounded_once(studio, tmp_path):
    """A change of 3e-5 vanishes if it is added to a weight that is already rounded to bfloat16."""
    weight = load_file(f"{studio.plan.diffusion}/{UNET}")[f"{TARGET}.weight"]
    parameter = studio.generator.pipeline.unet.get_parameter(f"{TARGET}.weight")
    before = parameter.detach().clone()
    concept = adapter(tmp_path, parameter, 3e-5)
    with studio.apply_concept(Brief("r", "a photo", "", (1,), 1, concept=concept)):
        applied = parameter.detach().clone()
    assert torch.equal(applied, (weight + 3e-5).to(parameter.dtype))
    assert torch.equal(parameter, before)
    rounded_first = (before.float() + 3e-5).to(parameter.dtype)
    learned = (applied.float() - weight).mean().item()
    assert learned == pytest.approx(3e-5, rel=0.5)
    if parameter.dtype == torch.bfloat16:
        assert not torch.equal(applied, rounded_first)


def test_a_studio_in_float32_reads_nothing_again(tiny_studio):
    assert tiny_studio.full_precision_pipeline() is tiny_studio.generator.pipeline


def test_weights_that_changed_on_disk_are_refused(tiny_plan, tmp_path):
    folder = shutil.copytree(tiny_plan.diffusion, tmp_path / "diffusion")
    studio = open_studio(dataclasses.replace(tiny_plan, diffusion=str(folder), dtype="float16"))
    (folder / UNET).write_bytes(b"other")
    with pytest.raises(WeightsDamaged, match=r"unet/diffusion_pytorch_model\.safetensors is not the expected one"):
        studio.full_precision_pipeline()
