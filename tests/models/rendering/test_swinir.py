"""Our SwinIR against two other implementations on the same files: basicsr's class, and spandrel."""

import pytest
import spandrel
import torch

from models.errors import WrongArchitecture
from models.rendering import swinir, upscaling
from models.weights.catalog import resolve
from models.weights.checkpoints import read
from tests import tiny

CPU = torch.device("cpu")


def upscaler(path, tile=512, overlap=32):
    return upscaling.SwinirUpscaler.load(resolve("upscaling", str(path)), CPU, torch.float32, tile, overlap)


WRAPPERS = {"light": "params", "real": "params_ema"}  # the others have none


@pytest.mark.parametrize("kind", list(tiny.SWINIR_KINDS))
def test_official_files_give_what_spandrel_gives(tmp_path, kind):
    path = tiny.swinir_file(tmp_path / "model.pth", kind, WRAPPERS.get(kind))
    theirs = spandrel.ModelLoader(device=CPU).load_from_file(path).eval()
    ours = upscaler(path)
    assert ours.scale == tiny.SWINIR_KINDS[kind]["upscale"]
    for size in ((24, 40), (37, 50)):
        pixels = torch.rand(1, 3, *size)
        with torch.inference_mode():
            expected = theirs.model(pixels).clamp(0, 1)
        assert (ours.upscale(pixels) - expected).abs().max() <= 1e-5
        assert expected.std() > 0.01


def test_without_its_masks_a_file_gives_what_basicsr_gives():
    state = tiny.swinir_state("light")
    theirs = tiny.swinir_network("light").eval()
    bare = {key: value for key, value in state.items() if not key.endswith(("attn_mask", "relative_position_index"))}
    ours = swinir.load(bare, "bare")
    pixels = torch.rand(2, 3, 40, 16)
    with torch.inference_mode():
        assert (ours(pixels) - theirs(pixels)).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv_first.weight"), "it has no conv_first.weight"),
        (lambda state: state.pop("layers.0.residual_group.blocks.1.norm1.bias"), "norm1.bias"),
        (lambda state: [state.pop(key) for key in list(state) if key.startswith("upsample.")], "does not enlarge"),
        (lambda state: state.update(absolute_pos_embed=torch.zeros(1)), "not one of the published RGB models"),
        (lambda state: state.update(stranger=torch.zeros(1)), "an unknown stranger"),
    ],
)
def test_another_network_is_refused(change, message):
    state = tiny.swinir_state("light")
    change(state)
    with pytest.raises(WrongArchitecture, match=message):
        swinir.load(state, "file.pth")


def test_a_scale_of_three_is_read_from_the_shapes():
    network = swinir.meta_network(tiny.SWINIR | {"upsampler": "pixelshuffle", "upscale": 3})
    assert swinir.read_architecture(network.state_dict(), "x")["upscale"] == 3


def smooth(height, width):
    """Return a picture of slow colour waves, on which a seam shows."""
    rows, columns = torch.arange(height)[:, None] / 29, torch.arange(width)[None] / 17
    return (
        torch.stack([(rows + columns).sin(), (rows - columns).cos(), (rows * 0.7).sin() * columns.cos()])[None] / 2
        + 0.5
    )


@pytest.fixture(scope="module")
def realistic(tmp_path_factory):
    """Return a file whose network follows its input as a trained one does: small weights, and a direct path."""
    state = tiny.swinir_state("light")
    for key, value in state.items():
        if value.is_floating_point() and "attn_mask" not in key and "norm" not in key:
            state[key] = value * 0.3
    generator = torch.Generator().manual_seed(0)
    state["conv_first.weight"] = torch.randn(state["conv_first.weight"].shape, generator=generator) * 0.2
    state["upsample.0.weight"] = torch.randn(state["upsample.0.weight"].shape, generator=generator) * 0.1
    path = tmp_path_factory.mktemp("swinir") / "model.pth"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("size", [(120, 96), (64, 200), (75, 131)])
def test_tiles_leave_no_seam(realistic, size):
    """Tiling changes no pixel much, and no step between neighbouring pixels is larger than without tiling."""
    pixels = smooth(*size)
    whole, tiled = (
        upscaler(realistic, tile=512).upscale(pixels),
        upscaler(realistic, tile=48, overlap=16).upscale(pixels),
    )
    assert whole.shape == tiled.shape == (1, 3, size[0] * 4, size[1] * 4)
    assert (whole - tiled).abs().max() < 1e-3
    for axis in (-1, -2):
        steps = [picture.diff(dim=axis).abs().amax(dim=(0, 1)) for picture in (whole, tiled)]
        assert (steps[1].max() - steps[0].max()) < 1e-3


def test_one_tile_reports_once_and_many_report_each(realistic):
    reports = []
    upscaler(realistic, tile=48, overlap=16).upscale(smooth(48, 48), lambda *at: reports.append(at))
    assert reports == [(1, 1)]
    upscaler(realistic, tile=48, overlap=16).upscale(smooth(48, 100), lambda *at: reports.append(at))
    assert reports[1:] == [(1, 3), (2, 3), (3, 3)]


def test_tiles_and_overlaps_of_any_size_cover_everything(realistic):
    pixels = smooth(70, 90)
    for tile, overlap in ((16, 0), (33, 500), (0, 32), (40, 8)):
        out = upscaler(realistic, tile, overlap).upscale(pixels)
        assert out.shape == (1, 3, 280, 360)
        assert out.isfinite().all()
        assert 0 <= out.min() <= out.max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (8, 5)])
def test_pictures_smaller_than_a_window_are_padded(realistic, size):
    assert upscaler(realistic).upscale(torch.rand(1, 3, *size)).shape == (1, 3, size[0] * 4, size[1] * 4)


def test_a_safetensors_file_keeps_its_names(tmp_path):
    path = tiny.swinir_file(tmp_path / "model.safetensors", "real")
    assert read(path, "upscaling").keys() == tiny.swinir_state("real").keys()
