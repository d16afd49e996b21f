"""The comparison with diffusers' example, on tiny networks."""

import json

import pytest
import torch

from benchmarks import dreambooth_gpu


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_both_loops_run_and_are_timed(monkeypatch, capsys):
    monkeypatch.setattr(dreambooth_gpu, "CLASS_IMAGES", 8)
    monkeypatch.setattr(dreambooth_gpu, "WARM_UP", 1)
    monkeypatch.setattr("sys.argv", ["dreambooth_gpu", "--tiny", "--device", "cpu", "--steps", "2"])
    dreambooth_gpu.main()
    figures = json.loads(capsys.readouterr().out)
    assert figures["steps"] == 2
    assert figures["tflop_per_step"] > 0
    assert all(figures[name]["seconds"] > 0 for name in ("ours", "baseline"))
    assert figures["ours"]["prepared"] > 0


def test_the_baseline_runs_in_bfloat16_and_its_loss_is_the_published_one(monkeypatch):
    """The frozen parts are cast to bfloat16 once; only the UNet runs under autocast."""
    pipeline = dreambooth_gpu.random_pipeline(torch.device("cpu"), dreambooth_gpu.TINY)
    unet = dreambooth_gpu._trainable(pipeline.unet)
    ids = dreambooth_gpu.token_ids(pipeline.tokenizer, dreambooth_gpu.PROMPTS)
    pixels = torch.rand(2, 3, 64, 64)
    for part in (pipeline.vae, pipeline.text_encoder):
        part.to(torch.bfloat16)
    monkeypatch.setattr(dreambooth_gpu, "mixed_precision", lambda device: torch.autocast("cpu", torch.bfloat16))
    loss = dreambooth_gpu._example_loss(pipeline, unet, pixels, ids)
    loss.backward()
    assert loss.dtype == torch.float32
    assert 1.0 < float(loss.detach()) < 4.0  # an untrained UNet's error is about 1 for each half
    assert all(parameter.grad is not None for parameter in unet.parameters())
    frozen = [*pipeline.vae.parameters(), *pipeline.text_encoder.parameters()]
    assert all(parameter.grad is None and parameter.dtype == torch.bfloat16 for parameter in frozen)
