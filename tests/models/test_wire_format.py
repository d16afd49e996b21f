"""The format of the pipe: every message crosses it unchanged, and nothing but such a message is read."""

import dataclasses
import json
import string
import time
import typing

import pytest

from models import errors, wire
from models.briefs import (
    Brief,
    Candidate,
    Concept,
    DeviceProbe,
    Picture,
    Rendering,
    StudioPlan,
    StudioReady,
    StudioRecipe,
    TrainingJob,
    TrainingResult,
    WeightsUsed,
)
from models.errors import CreativesError, StageFailed
from models.photo_files import PhotoFile, PhotoLimits
from models.weights.families import MOST_IN_ALL, MOST_NAMES, MOST_PHRASES
from models.wire import Answer, Cancel, Checkpointed, Progress, Render, Stop, Train
from models.wire_format import FROM_DEVICE, KINDS, PREFIX, TO_DEVICE, InvalidMessage, decode, encode

PHOTOS = (PhotoFile("/w/photos/a", "0" * 64), PhotoFile("/w/photos/b", "1" * 64))
CONCEPT = Concept("jam", "textual_inversion", "/jam", "0" * 64, "<jam>", "jar of jam")
PICTURES = (Picture(1, "square", 2**53 - 1, 8, 9, "image/png", b"\x00\xff{}", {"clip": 1.0}),) * 2
RECIPE = StudioRecipe("f", (WeightsUsed("diffusion", "a", "b", "c"),), {"a": 1, "b": True, "c": 1.0, "d": "ż\n"})
MESSAGES = [
    StudioPlan(steps=4, guidance_scale=2.0, sampler="lcm", compile=True),
    StudioReady(RECIPE, "cpu", "/tokenizer.json", 77, ""),
    StudioReady(RECIPE, "cpu", "/tokenizer.json", 77, "", {"dog": ("pet", "piesek"), "blob": ()}),
    DeviceProbe("cuda", "H100", "bfloat16", "2.9", 2**40, 1),
    Render(1, (Brief("r", "a \U0001f9c3 cup", "", (1, 2), 1, ("story",), CONCEPT), Brief("s", "", "", (), 0))),
    Train(2, TrainingJob("r", "jam", "jar", "<jam>", "dreambooth", PHOTOS, 1, "/w", PhotoLimits(9), CONCEPT, rank=4)),
    Cancel(3),
    Stop(),
    Progress(4, "train", 1, 2),
    Checkpointed(5, 100, "/w/checkpoint-000100.safetensors"),
    Answer(6, "r", Rendering("r", PICTURES, (Candidate("square", 0, 1, {"clip": -0.5}, None),), 0.25)),
    Answer(7, "r", TrainingResult("r", "/w/concept", "0" * 64, 2, {}, PICTURES, 1.0)),
]


def cross(message, accepted=frozenset(KINDS)):
    """Return a message after its way through the pipe."""
    frame = b"".join(encode(message))
    header, blobs = PREFIX.unpack_from(frame)
    content = frame[PREFIX.size :]
    assert len(content) == header + blobs
    return decode(content[:header], content[header:], accepted)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_crosses_unchanged(message):
    crossed = cross(message)
    assert crossed == message
    assert repr(crossed) == repr(message), "1, 1.0 and True are equal, but not the same"


def test_a_string_of_a_librarys_own_class_arrives_as_a_string():
    """Unpickled, torch's TorchVersion would import torch into the worker."""

    class TorchVersion(str):
        __slots__ = ()

    arrived = cross(dataclasses.replace(MESSAGES[1], recipe=StudioRecipe("f", (), {"torch": TorchVersion("2.9")})))
    assert type(arrived.recipe.settings["torch"]) is str


def test_every_message_is_tested_and_has_one_direction():
    messages = {
        kind.__name__
        for kind in vars(wire).values()
        if dataclasses.is_dataclass(kind) and kind.__module__ == wire.__name__
    }
    assert {type(message).__name__ for message in MESSAGES} | {"CreativesError"} == set(KINDS)
    assert messages <= set(KINDS)
    assert typing.cast("object", TO_DEVICE | FROM_DEVICE) == set(KINDS)
    assert not TO_DEVICE & FROM_DEVICE


@pytest.mark.parametrize("kind", [kind for kind in vars(errors).values() if isinstance(kind, type)])
def test_every_named_error_crosses_with_its_message(kind):
    names = [name for _, name, _, _ in string.Formatter().parse(kind.__doc__ or "") if name]
    error = kind(**{name: f"the {name}" for name in names})
    for crossed in (cross(error), cross(Answer(1, "r", None, error, crowded=True)).error):
        assert (type(crossed), str(crossed), crossed.fields) == (kind, str(error), error.fields)


def test_an_error_of_another_module_crosses_as_a_failed_stage():
    class Foreign(CreativesError):
        """Foreign: {text}"""

    error = cross(Answer(1, "r", None, Foreign(text="x"))).error
    assert (type(error), error.fields["kind"], error.fields["detail"]) == (StageFailed, "Foreign", "Foreign: x")


@pytest.mark.parametrize("result", [(n for n in range(3)), "text", object(), {"a": 1}])
def test_a_field_of_another_type_is_not_sent(result):
    with pytest.raises(InvalidMessage):
        encode(Answer(1, "r", result))


def frame(kind="Answer", fields=None, lengths=()):
    return json.dumps({"kind": kind, "blobs": list(lengths), "fields": fields}).encode()


ERROR = {"ticket": 1, "request_id": "r", "result": None}
INVALID = {
    "pickle": b"cos\nsystem\n(S'true'\ntR.",
    "empty": b"",
    "not an object": b"[]",
    "no fields": b"{}",
    "deep": b"[" * 100_000,
    "not UTF-8": b'{"kind": "\xff"}',
    "long number": b'{"kind": ' + b"9" * 5000 + b"}",
    "unknown kind": frame("Exit"),
    "kind of the other direction": frame("Stop", {}),
    "kind of another type": frame(["Stop"]),
    "missing field": frame("Progress", {"ticket": 1}),
    "unknown stage": frame("Progress", {"ticket": 1, "stage": "x", "done": 1, "total": 1}),
    "field of another type": frame("Checkpointed", {"ticket": [], "step": 1, "path": "x"}),
    "class of Python": frame(fields=ERROR | {"error": {"name": "SystemExit", "fields": {}}}),
    "class of typing": frame(fields=ERROR | {"error": {"name": "annotations", "fields": {}}}),
    "error without its field": frame(fields=ERROR | {"error": {"name": "StageFailed", "fields": {}}}),
    "error with an object": frame(fields=ERROR | {"error": {"name": "Cancelled", "fields": {"a": {}}}}),
    "error of another type": frame(fields=ERROR | {"error": []}),
    "blobs that do not add up": frame("CreativesError", {"name": "Cancelled", "fields": {}}, [5]),
    "blobs of another type": frame("CreativesError", {"name": "Cancelled", "fields": {}}, ["a"]),
    "blob that is not there": frame("CreativesError", {"blob": 4}),
}


@pytest.mark.parametrize("header", INVALID.values(), ids=INVALID)
def test_anything_else_is_an_invalid_message(header):
    with pytest.raises(InvalidMessage):
        decode(header, b"", FROM_DEVICE)


def test_negative_blobs_are_invalid():
    with pytest.raises(InvalidMessage, match="add up"):
        decode(frame("CreativesError", {}, [5, -1]), b"1234", FROM_DEVICE)


SETTINGS = {"fingerprint": "f", "models": [], "settings": {str(number): None for number in range(15_000)}}
RENDERING = {"request_id": "r", "pictures": [], "candidates": [], "device_seconds": 1}
COSTLY = {
    "pictures": frame(fields=ERROR | {"result": RENDERING | {"pictures": [{}] * 7900}}),
    "many pictures": frame(fields=ERROR | {"result": RENDERING | {"pictures": [{}] * 200_000}}),
    "candidates": frame(fields=ERROR | {"result": RENDERING | {"candidates": [{}] * 7900}}),
    "scores": frame(
        fields=ERROR | {"result": RENDERING | {"stage_seconds": dict.fromkeys(map(str, range(9000)), "x")}}
    ),
    "settings": frame("StudioReady", {"recipe": SETTINGS}),
    "blobs": frame("Progress", {"ticket": 1, "stage": "load", "done": 1, "total": 1}, [0] * 400_000),
}


@pytest.mark.parametrize("header", COSTLY.values(), ids=COSTLY)
def test_an_invalid_message_does_not_block_the_event_loop(header):
    start = time.process_time()
    with pytest.raises(InvalidMessage) as caught:
        decode(header, b"", FROM_DEVICE)
    assert time.process_time() - start < 5, "without the limits, some of them take a minute"
    assert len(str(caught.value)) < 400


def test_the_largest_answer_and_vocabulary_cross():
    scores = dict.fromkeys(("clip", "aesthetic", "dino", "text", "sharpness", "contrast"), 0.1234567890123456)
    candidates = tuple(Candidate("landscape", number, 2**53 - 1, scores, 16) for number in range(4 * 64))
    pictures = (dataclasses.replace(PICTURES[0], scores=scores),) * (4 * 16)
    answer = Answer(1, "r", Rendering("r", pictures, candidates, 0.25))
    assert cross(answer, FROM_DEVICE) == answer
    names = [f"{number:04}" for number in range(MOST_NAMES)]
    words = [""] * (MOST_PHRASES - MOST_NAMES)
    words[0] = "\U0001f415" * (MOST_IN_ALL - 4 * MOST_NAMES)
    vocabulary = {
        name: tuple(words[place : place + 100]) for name, place in zip(names, range(0, 500_000, 100), strict=True)
    }
    ready = StudioReady(RECIPE, "cpu", "/tokenizer.json", 77, "", vocabulary)
    assert cross(ready, FROM_DEVICE) == ready


def test_a_large_batch_crosses_to_the_device():
    batch = Render(1, tuple(Brief(str(number), "a, b, c", "", tuple(range(64)), 1) for number in range(400)))
    assert cross(batch, TO_DEVICE) == batch
