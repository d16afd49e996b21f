"""How the demo family is trained: scenes, captions, latents and checkpoints, on a few simple drawings."""

import re
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor, nn

from scripts.demo_family import (
    captions,
    checkpoints,
    composites,
    drawings,
    latents,
    material,
    measures,
    scenes,
    swinir,
    unet,
)
from scripts.demo_family.art import raster
from scripts.demo_family.concepts import Concept
from scripts.demo_family.training import Budget, Recipe, Run, train


@pytest.fixture
def art() -> material.Art:
    """Return three discs with names of food, each in three styles."""
    names = ("coffee", "jam", "milk")
    things = [Concept(n, n, (f"{n} cup",), ("breakfast",), "drinks", n, True) for n in names]
    rgba = torch.zeros(9, 256, 256, 4, dtype=torch.uint8)
    axis = torch.arange(256) - 128
    disc = (axis[:, None] ** 2 + axis[None] ** 2) < 120**2
    for i in range(9):
        rgba[i, disc] = torch.tensor([80 * (i // 3), 200 - 60 * (i % 3), 30, 255], dtype=torch.uint8)
    rows = torch.tensor([[c, s] for c in range(3) for s in range(3)])
    return material.Art(things, composites.pyramid(rgba), rows)


def test_a_named_background_has_its_colour(art: material.Art) -> None:
    drawn = scenes.draw(art.shelf, 64, torch.Generator().manual_seed(0))
    plain = torch.nonzero((drawn.wall_name >= 0) & (drawn.backdrop == 0))[:, 0]
    pixels = composites.render(drawn.take(plain), art.sprites, 64)
    assert len(plain) > 3
    assert torch.equal(measures.backgrounds(pixels), drawn.wall_name[plain])


def test_the_object_stands_at_its_place(art: material.Art) -> None:
    drawn = scenes.draw(art.shelf, 8, torch.Generator().manual_seed(1), pairs=0.0)
    with_object = composites.render(drawn, art.sprites, 64, shadow=0.0)
    empty = composites.render(_without_objects(drawn), art.sprites, 64, shadow=0.0)
    changed = (with_object - empty).abs().amax(1) > 0.02
    for mask, (centre, bottom, _) in zip(changed, drawn.places[:, 0].tolist(), strict=True):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        assert abs(float(columns.float().mean()) / 64 - centre) < 0.05
        assert abs(float(rows.max() + 1) / 64 - bottom) < 0.05


def _without_objects(drawn: scenes.Scenes) -> scenes.Scenes:
    return scenes.Scenes(**{**vars(drawn), "sprites": torch.full_like(drawn.sprites, -1)})


def test_every_step_draws_other_composites(art: material.Art) -> None:
    pixels, shown = material.compose(art, 100, 1, pairs=0.5)
    again, _ = material.compose(art, 100, 1, pairs=0.5)
    other, _ = material.compose(art, 100, 2, pairs=0.5)
    assert torch.equal(pixels, again)
    assert not torch.equal(pixels, other)
    assert pixels.shape == (100, 3, 64, 64)
    assert 15 < int((shown.concepts[:, 1] >= 0).sum()) < 55  # a third of the pairs drew one thing twice


def test_a_caption_begins_with_the_drawn_things_alone(art: material.Art) -> None:
    drawn = scenes.draw(art.shelf, 100, torch.Generator().manual_seed(3), pairs=1.0)
    writer, rng = captions.Writer(art.concepts), Random(1)
    for i in range(100):
        things = [art.concepts[int(c)] for c in drawn.concepts[i] if c >= 0]
        first = writer.subject(things, rng)
        assert "," not in first
        assert len(things) == 1 or all(any(name in first for name in thing.names) for thing in things)


def test_a_caption_names_the_drawn_things_and_their_background(art: material.Art) -> None:
    drawn = scenes.draw(art.shelf, 200, torch.Generator().manual_seed(2))
    writer, rng = captions.Writer(art.concepts), Random(0)
    colour_named = []
    for i in range(200):
        text = writer.caption(drawn, i, rng)
        named = re.search(r"(light blue|\w+) (?:background|wall)\b", text)
        wall = int(drawn.wall_name[i])
        assert named is None or (wall >= 0 and named[1] == scenes.NAMES[wall])
        assert (int(drawn.backdrop[i]) == 3) == bool(re.search(r" (table|surface|desk)\b", text))
        if wall >= 0:
            colour_named.append(named is not None)
        if int(drawn.concepts[i, 1]) >= 0:
            assert all(art.concepts[int(c)].noun in text for c in drawn.concepts[i])
    # captions without a colour train the model to vary it
    assert 0.4 < sum(colour_named) / len(colour_named) < 0.7


def test_a_thing_of_many_makes_is_drawn_in_each_of_them_and_more_often() -> None:
    rows = torch.tensor([[0, 0], [1, 0], [1, 0], [1, 0], [1, 0], [1, 1]])  # the first of two things has one make
    shelf = scenes.shelves(rows, 2, torch.ones(2))
    drawn = scenes.draw(shelf, 600, torch.Generator().manual_seed(4), pairs=0.0)
    plain = drawn.style == 0
    shown = drawn.sprites[:, 0]
    assert set(shown[plain & (drawn.concepts[:, 0] == 1)].tolist()) == {1, 2, 3, 4}
    assert set(shown[drawn.style == 1].tolist()) == {5}  # a thing without art in a style is drawn in the first style
    assert set(shown[drawn.concepts[:, 0] == 0].tolist()) == {0}
    assert 1.6 < float((drawn.concepts[:, 0] == 1).sum() / (drawn.concepts[:, 0] == 0).sum()) < 2.5
    assert torch.equal(drawn.sprites[:, 1], torch.full((600,), -1))


@pytest.mark.parametrize("name", ["milk-carton", "jam-jar"])
def test_every_make_is_a_different_picture(name: str) -> None:
    makes = [drawings.svg(name, "3d", make) for make in range(drawings.makes(name))]
    pictures = [raster(make) for make in makes]
    assert len({picture.tobytes() for picture in pictures}) == len(makes) > 30
    for picture in pictures:
        left, top, right, bottom = picture.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox()
        assert 0 < top < 110  # not cut off at the top
        assert right - left > 90
        assert bottom > 220  # stands on the floor
    again = drawings.svg(name, "3d", 5)
    assert again == makes[5]


def test_the_encoder_computes_the_principal_components() -> None:
    torch.manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(32, 3, 8, 8), 32, mode="bicubic").clamp(0, 1) * 2 - 1
    code = latents.principal(smooth, 4, latents.CHANNELS)
    vae = latents.autoencoder()
    latents.fold(vae, code)
    with torch.no_grad():
        folded = vae.encode(smooth).latent_dist.mode()
    expected = latents.encode(code, smooth)
    assert torch.allclose(folded, expected, atol=0.05)
    assert measures.decibels(latents.decode(code, expected) / 2 + 0.5, smooth / 2 + 0.5) > 30


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_swinir_starts_as_bicubic_interpolation() -> None:
    model = swinir.build().eval()
    pixels = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        inner = model(pixels)[:, :, 16:-16, 16:-16]
    bicubic = nn.functional.interpolate(pixels, scale_factor=4, mode="bicubic")[:, :, 16:-16, 16:-16]
    assert torch.allclose(inner, bicubic, atol=1e-4)


def _train_line(folder: Path, steps: int, stop: int | None = None) -> nn.Module:
    torch.manual_seed(3)
    model = nn.Linear(4, 1)

    def loss(step: int) -> Tensor:
        if step == stop:
            raise KeyboardInterrupt
        x = torch.randn(8, 4)
        value: Tensor = (model(x) - x.sum(1, keepdim=True)).square().mean()
        return value

    recipe = Recipe(rate=0.05, warmup=5, cooldown=0.0, save_minutes=0.0)
    return train(model, loss, Run(folder, torch.device("cpu")), Budget(steps=steps, hours=1), recipe)


def test_a_killed_run_resumes_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = _train_line(tmp_path / "whole", 40)
    with pytest.raises(KeyboardInterrupt):
        _train_line(tmp_path / "killed", 40, stop=25)
    state = checkpoints.load(tmp_path / "killed" / "checkpoint.pt", torch.device("cpu"))
    assert state is not None
    assert 0 < state["step"] <= 25
    resumed = _train_line(tmp_path / "killed", 40)
    for name, value in whole.state_dict().items():
        assert torch.allclose(resumed.state_dict()[name], value, atol=1e-6)


def test_mixed_precision_changes_a_step_by_less_than_one_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(bfloat16: bool) -> tuple[float, Tensor]:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bfloat16})
        torch.manual_seed(3)
        model = unet.network()
        z, states, t = torch.randn(4, 16, 16, 16), torch.randn(4, 77, 128), torch.tensor([1, 300, 600, 999])
        loss = unet.denoising(model, z, states, t, unet.scheduler().alphas_cumprod)
        loss.backward()
        return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    (full_loss, full_gradient), (mixed_loss, mixed_gradient) = step(False), step(True)
    assert mixed_loss != full_loss
    assert mixed_loss == pytest.approx(full_loss, rel=0.01)
    assert torch.nn.functional.cosine_similarity(full_gradient, mixed_gradient, dim=0) > 0.995


def test_attention_is_computed_in_single_precision() -> None:
    query, key, value = torch.randn(3, 1, 2, 8, 4).bfloat16()
    attend = torch.nn.functional.scaled_dot_product_attention
    with torch.autocast("cpu", torch.bfloat16), unet.Float32Attention():
        answer = attend(query, key, value)
    assert torch.equal(answer, attend(query.float(), key.float(), value.float()).bfloat16())
    assert not torch.equal(answer, attend(query, key, value))


def test_an_incomplete_checkpoint_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoints.save({"step": 1}, path)
    path.with_suffix(".partial").write_bytes(b"half a file")
    assert checkpoints.load(path, torch.device("cpu")) == {"step": 1}


def test_the_vocabulary_on_the_card_leaves_out_tags_of_other_kinds() -> None:
    from scripts.demo_family.vocabulary import vocabulary

    puppy = Concept("dog face", "puppy", ("young dog",), ("face", "pet", "puppy"), "", "", True)
    assert vocabulary([puppy]) == {"puppy": ["dog face", "young dog", "pet"]}
