"""The shelf keeps concepts up to its limit, loads them again after eviction, and never mixes them between briefs."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.briefs import Brief, Concept, TrainingJob
from models.learning.concept_file import write_concept
from models.opening import open_studio
from models.rendering import concept_shelf
from models.rendering.concept_shelf import ConceptShelf, group_by_concept
from models.studio import Studio
from models.subjects import placeholder

NOUNS = {"milk": "carton of milk", "jam": "jar of jam", "tea": "box of tea"}


def concept(studio: Studio, folder: Path, product: str, method: str, strength: float = 0.05) -> Concept:
    """Write a concept of random values, as a training job writes a trained one."""
    folder = folder / f"{product}-{method}"
    token = placeholder(product, method)
    training_job = TrainingJob("r", product, NOUNS[product], token, method, (), 1, str(folder))
    generator = torch.Generator().manual_seed(sum(map(ord, product + method)))
    if method == "textual_inversion":
        tensors = {token: torch.randn((2, 32), generator=generator)}
    else:
        state = studio.generator.pipeline.unet.state_dict()
        tensors = {n: v + strength * torch.randn(v.shape, generator=generator) for n, v in state.items()}
    return write_concept(tensors, training_job, 1, folder)


@pytest.fixture(scope="module")
def concepts(tiny_studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Concept]:
    folder = tmp_path_factory.mktemp("concepts")
    methods = {"milk": "textual_inversion", "jam": "textual_inversion", "tea": "dreambooth"}
    made = {product: concept(tiny_studio, folder, product, method) for product, method in methods.items()}
    return made | {"jam, all weights": concept(tiny_studio, folder, "jam", "dreambooth")}


def brief(number: int, prompt: str, concept: Concept | None = None) -> Brief:
    return Brief(f"request-{number}", prompt, "blurry", (number, number + 100), 1, concept=concept)


def files(rendering: object) -> list[bytes]:
    return [picture.content for picture in rendering.pictures]


@pytest.fixture
def briefs(concepts: dict[str, Concept]) -> list[Brief]:
    """Briefs with two tokens, with two sets of weights and without a concept; some prompts hold another brief's token."""
    return [
        brief(1, "a photo of <milk> and bread", concepts["milk"]),
        brief(2, "a photo of <milk> and <jam>"),
        brief(3, "a photo of sks box of tea and <milk>", concepts["tea"]),
        brief(4, "a photo of <jam> and <milk>", concepts["jam"]),
        brief(5, "a photo of sks box of tea"),
        brief(6, "a photo of sks jar of jam", concepts["jam, all weights"]),
        brief(7, "a photo of <milk>", concepts["milk"]),
    ]


def record_loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Return a list to which every load from now on is added."""
    noted: list[tuple[str, ...]] = []
    loading = concept_shelf._load

    def load(pipeline, requested, *rest):
        noted.append(tuple(one.product_id for one in requested))
        return loading(pipeline, requested, *rest)

    monkeypatch.setattr(concept_shelf, "_load", load)
    return noted


def test_briefs_of_one_concept_come_together_in_order_of_appearance(briefs):
    assert [one.request_id[-1] for one in group_by_concept(briefs)] == ["1", "7", "2", "5", "4", "3", "6"]
    assert [one.request_id[-1] for one in group_by_concept(briefs[2:])] == ["3", "4", "5", "7", "6"]
    assert group_by_concept([]) == []


def test_neither_order_nor_neighbours_change_a_byte(tiny_studio, briefs):
    """Render each brief alone, then all in several orders, grouped and not, on shelves that hold one and four."""
    alone = {}
    for one in briefs:
        tiny_studio.shelf = ConceptShelf(4)
        (rendering,) = tiny_studio.render([one])
        alone[one.request_id] = files(rendering)
    assert len({content for contents in alone.values() for content in contents}) == len(briefs)
    orders = [briefs, briefs[::-1], group_by_concept(briefs), group_by_concept(briefs[::-1]), briefs[3:] + briefs[:3]]
    for limit, order in itertools.product((1, 4), orders):
        tiny_studio.shelf = ConceptShelf(limit)
        for one, rendering in zip(order, tiny_studio.render(order), strict=True):
            assert files(rendering) == alone[one.request_id], (limit, one)


def test_a_grouped_batch_loads_each_concept_once_however_small_the_shelf(tiny_studio, briefs, monkeypatch):
    tiny_studio.shelf = ConceptShelf(1)
    noted = record_loads(monkeypatch)
    tiny_studio.render(group_by_concept([*briefs, *briefs]))
    assert noted == [("milk",), ("jam",), ("tea",), ("jam",)]


def test_a_full_shelf_drops_the_oldest_and_loads_it_again(tiny_studio, concepts, monkeypatch):
    pipeline, shelf = tiny_studio.generator.pipeline, ConceptShelf(2)
    noted = record_loads(monkeypatch)
    for product in ("milk", "tea", "milk", "jam"):
        with shelf.apply(pipeline, (concepts[product],)):
            pass
    assert len(shelf) == 2
    assert noted == [("milk",), ("tea",), ("jam",)]
    trained = load_file(concepts["tea"].path)
    for evicted in ("milk", "tea"):
        with shelf.apply(pipeline, (concepts[evicted],)):
            if evicted == "tea":
                current = dict(pipeline.unet.named_parameters())
                assert all(torch.equal(value, trained[name]) for name, value in current.items())
            else:
                rows = pipeline.text_encoder.get_input_embeddings().weight[-2:]
                assert torch.equal(rows, load_file(concepts["milk"].path)["<milk>"])
    assert noted[3:] == [("tea",)]


@pytest.mark.parametrize("product", ["milk", "tea", "jam"])
def test_reading_a_concept_reports_progress_once(tiny_studio, concepts, product):
    reports, shelf = [], ConceptShelf(1)
    for _ in range(2):
        with shelf.apply(tiny_studio.generator.pipeline, (concepts[product],), lambda *done: reports.append(done)):
            pass
    tensors, size = len(load_file(concepts[product].path)), Path(concepts[product].path).stat().st_size
    assert reports == [*((number, tensors) for number in range(1, tensors + 1)), (size, size)]


@pytest.mark.parametrize("product", ["milk", "tea"])
def test_evicted_and_forgotten_concepts_free_their_memory(tiny_studio, concepts, product):
    shelf, pipeline = ConceptShelf(1), tiny_studio.generator.pipeline

    def held() -> list[weakref.ref]:
        with shelf.apply(pipeline, (concepts[product],)):
            (loaded,) = shelf._shelf.values()
            return [weakref.ref(value) for _, value in loaded.values] + [weakref.ref(loaded)]

    evicted = held()
    assert all(reference() is not None for reference in evicted)
    with shelf.apply(pipeline, (concepts["jam"],)):
        gc.collect()
        assert not [reference for reference in evicted if reference() is not None]
    forgotten = held()
    shelf.forget("another product")
    assert len(shelf) == 1
    shelf.forget(product)
    gc.collect()
    assert len(shelf) == 0
    assert not [reference for reference in forgotten if reference() is not None]


@pytest.mark.parametrize(
    ("method", "token", "noun", "prompt", "plain"),
    [
        ("dreambooth", "sks", "jar of jam", "sks jar of jam with desks, flasks", "jar of jam with desks, flasks"),
        ("dreambooth", "sks", "jar of jam", "a sks jar, sks-like, sks jars", "a jar, sks-like, sks jars"),
        ("dreambooth_lora", "sks", "mug", "sks, a brand", "sks, a brand"),
        ("textual_inversion", "<milk>", "carton of milk", "of <milk> and bread", "of carton of milk and bread"),
        ("textual_inversion", "<a.b>", r"ca\1n", "<a.b>, <axb>, x<a.b>", r"ca\1n, <axb>, x<a.b>"),
    ],
)
def test_the_placeholder_is_replaced_and_no_other_word(method, token, noun, prompt, plain):
    assert Concept("p", method, "/nowhere", "0" * 64, token, noun).replace_placeholder(prompt) == plain


def test_the_plan_sets_the_shelfs_limit_and_the_recipe_leaves_it_out(tiny_plan, tiny_studio):
    small = open_studio(dataclasses.replace(tiny_plan, concepts=1))
    assert (small.shelf._limit, open_studio(tiny_plan).shelf._limit) == (1, 4)
    assert small.recipe == tiny_studio.recipe
