"""All fuzzing targets, on their seeds and on simple mutations of them."""

import random

import pytest
from structlog.testing import capture_logs

from tests.fuzz import seeds as sound
from tests.fuzz.targets import TARGETS, record_offsets
from tests.raw_batches import CODECS

MUTATIONS = 60


def mutated(seed: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Return the seed with up to three changes: bytes changed, removed or repeated, or the end of another seed."""
    content = bytearray(seed)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(content) + 1)
        match chance.randrange(4):
            case 0:
                content[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del content[place : place + chance.randrange(1, 16)]
            case 2:
                content[place:place] = content[place : place + 8] * chance.choice((1, 2, 50))
            case 3:
                other = chance.choice(others)
                content[place:] = other[min(place, len(other)) :]
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_mutations_of_them_raise_nothing_unexpected(name):
    target, chance = TARGETS[name], random.Random(name)
    seeds = target.seeds()
    assert seeds
    for content in seeds:
        target.read(content)
    for _ in range(MUTATIONS):
        target.read(mutated(chance.choice(seeds), seeds, chance))
    for content in (b"", b"\0" * 100, b"[" * 5000, b"\xff" * 1000):
        target.read(content)


def test_the_records_of_sound_batches_are_read():
    """The target of record batches suppresses every error, so it would pass without reading a record."""
    assert [record_offsets(batch) for batch in sound.record_batches()] == [[0, 1, 2]] * len(CODECS)


@pytest.mark.parametrize("name", ["concept-pointers", "manifests", "parked-segments"])
def test_signed_seeds_are_valid_objects(name):
    """Otherwise the target reads nothing behind the signature. It reads each seed twice: unsigned, then signed."""
    target = TARGETS[name]
    with capture_logs() as ignored:
        for content in target.seeds():
            target.read(content)
    assert [line["reason"] for line in ignored] == ["it is not signed"] * len(target.seeds())
