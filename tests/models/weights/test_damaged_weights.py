"""Weights in every layout with seeded random damage: they load, or raise a named error of one line."""

import json
import random
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import opening
from models.briefs import StudioPlan
from models.errors import WeightsError
from models.rendering.diffusion import DiffusionGenerator
from models.rendering.reranking import ClipReranker
from models.rendering.upscaling import SwinirUpscaler
from models.weights import pipelines
from models.weights.catalog import resolve
from tests import tiny, tiny_single

CPU = torch.device("cpu")
VALUES = (None, 5, -1, 0, 2.5, "x", [], {}, [None], True, [[1]], "float16")


def open_diffusion(path):
    weights = resolve("diffusion", str(path))
    pipeline = pipelines.load(weights, torch.float32)
    DiffusionGenerator(pipeline, opening.choose_sampling(StudioPlan(), pipeline, weights.family), CPU)


def open_reranking(path):
    ClipReranker.load(resolve("reranking", str(path)), CPU, torch.float32)


def open_upscaling(path):
    SwinirUpscaler.load(resolve("upscaling", str(path)), CPU, torch.float32)


def damage_bytes(path, chance):
    """Change, cut out, insert or cut off bytes, mostly near the beginning, which holds the structure."""
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 3, 20))):
        place = int(len(content) * chance.random() ** chance.choice((1, 4)))
        match chance.randrange(5):
            case 0 | 1:
                content[place : place + 1] = bytes([chance.randrange(256)])
            case 2:
                del content[place : place + chance.randrange(1, 64)]
            case 3:
                content[place:place] = chance.randbytes(chance.randrange(1, 64))
            case 4:
                del content[place:]
    path.write_bytes(bytes(content))


def damage_tensors(path, chance):
    """Drop, rename, retype and reshape tensors."""
    state = load_file(path)
    for key in chance.sample(sorted(state), chance.choice((1, 2, 5))):
        value = state[key]
        match chance.randrange(6):
            case 0:
                del state[key]
            case 1:
                state[key.replace(chance.choice(key.split(".")), "0")] = state.pop(key)
            case 2:
                state[key] = torch.zeros(())
            case 3:
                state[key] = value[:0].clone()
            case 4:
                state[key] = value.long()
            case 5:
                state[key] = value.flatten().clone()
    save_file(state, path)


def damage_json(folder, chance):
    """Replace or drop one value, at any depth of one of the folder's JSON files; or damage its text."""
    path = chance.choice(sorted(folder.rglob("*.json")))
    if chance.random() < 0.2:
        damage_bytes(path, chance)
        return
    whole = node = {"content": json.loads(path.read_text())}
    key = "content"
    while node[key] and isinstance(node[key], dict | list) and chance.random() < 0.8:
        node = node[key]
        key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
    if node is not whole and chance.random() < 0.2:
        del node[key]
    else:
        node[key] = chance.choice(VALUES)
    path.write_text(json.dumps(whole["content"]))


KINDS = {
    "swinir.safetensors": (open_upscaling, (damage_bytes, damage_tensors), range(15)),
    # the last ones are rare: struct.error, UnicodeDecodeError, IndexError and KeyError out of torch.load
    "swinir.pth": (open_upscaling, (damage_bytes,), (*range(10), 67, 111, 160, 200)),
    "sd15.safetensors": (open_diffusion, (damage_bytes, damage_tensors), range(4)),
    "sd21.safetensors": (open_diffusion, (damage_tensors,), range(2)),
    "sdxl.safetensors": (open_diffusion, (damage_tensors,), range(2)),
    "sd15-folder": (open_diffusion, (damage_json,), range(6)),
    "sdxl-folder": (open_diffusion, (damage_json,), range(3)),
    "clip": (open_reranking, (damage_json,), range(10)),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    tiny.sd15_folder(folder / "sd15-folder")
    card = {"size": 32, "steps": 2, "training": {"dreambooth": {"steps": 5}}}
    (folder / "sd15-folder" / "family.json").write_text(json.dumps(card))
    tiny.sdxl_folder(folder / "sdxl-folder")
    tiny.clip_folder(folder / "clip")
    tiny.swinir_file(folder / "swinir.safetensors", "real")
    tiny.swinir_file(folder / "swinir.pth", "light", "params_ema")
    for kind in ("sd15", "sd21", "sdxl"):
        tiny_single.single_file(folder / f"{kind}.safetensors", kind)
    return folder


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in KINDS for seed in KINDS[name][-1]])
def test_damaged_weights_load_or_are_named(sources, tmp_path, name, seed):
    load, damages, _ = KINDS[name]
    source, path = sources / name, tmp_path / name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, path)
    chance = random.Random(f"{name} {seed}")
    chance.choice(damages)(path, chance)
    try:
        with warnings.catch_warnings(action="ignore"):  # the libraries' warnings are not tested
            load(path)
    except WeightsError as error:
        message = str(error)
        assert "\n" not in message
        assert str(tmp_path) not in message
        assert len(message) < 500
