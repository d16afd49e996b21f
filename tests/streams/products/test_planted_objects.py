"""Both handlers in a bucket into which somebody else writes: nothing planted is obeyed, and nothing stops an event."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.events import CreativeReady, ProductReady
from streams.messages import Outcome
from streams.store.concepts import current_concept
from streams.store.signed_objects import Signer
from tests.fakes import MemoryStore
from tests.streams.store.signing import HOSTILE
from tests.streams.world import World, concept, product, segment

PLANTED = json.dumps(
    {
        "topic": "segment_updated",
        "key": "any",
        "headers": [["ce_id", "planted"]],
        "message": segment("planted").to_json().decode(),
    }
).encode()
FOREIGN = Signer([b"the key of another deployment, for tests"])


async def outcomes_of(world: World) -> tuple[Outcome, Outcome]:
    """Train the product and render a segment of it."""
    trained = await world.train(product())
    rendered = await world.render(segment())
    assert rendered is not None
    return trained, rendered


@pytest.mark.parametrize("content", [*HOSTILE, PLANTED], ids=lambda content: repr(content[:20]))
async def test_planted_objects_at_every_known_key_change_nothing(content: bytes, tmp_path: Path) -> None:
    """Request ids follow from public values, so an attacker can write first. Redeliveries stay byte-identical."""
    for name in ("clean", "planted"):
        (tmp_path / name).mkdir()
    clean = World(tmp_path / "clean")
    await outcomes_of(clean)
    world = World(tmp_path / "planted")
    assert isinstance(world.store, MemoryStore)
    signed = [key for key in clean.store.objects if key.endswith(".json")]
    assert len(signed) == 4  # two manifests, the current concept, the pinned one
    for key in signed:
        world.store.objects[key] = content
    trained, rendered = await outcomes_of(world)
    assert (trained.topic, rendered.topic) == ("product_ready", "creative_ready")
    assert ProductReady.model_validate_json(trained.value).product_id == "jam"
    assert CreativeReady.model_validate_json(rendered.value).segment_id == "breakfast"
    assert world.tools.invalid.count == 4
    world.restart()
    assert await outcomes_of(world) == (trained, rendered)
    assert (world.device.briefs, world.device.training_jobs) == ([], [])


async def test_a_manifest_that_is_planted_after_the_outcome_is_rebuilt(world: World) -> None:
    first = await world.train(product())
    [key] = [key for key in world.store.objects if key.endswith("manifest.json")]
    for content in (PLANTED, FOREIGN.sign(key, PLANTED)):
        world.store.objects[key] = content
        again = await world.train(product())
        assert (again.topic, again.key) == (first.topic, first.key)
        assert await world.train(product()) == again


@pytest.mark.parametrize("content", [*HOSTILE, segment("planted").to_json()], ids=lambda content: repr(content[:20]))
async def test_a_planted_parked_segment_is_not_published_and_strands_no_other(content: bytes, world: World) -> None:
    await world.render(segment("s1"))
    world.store.objects |= {"parked/jam/0.json": content, "parked/jam/z.json": content, "parked/jam/../x": content}
    outcome = await world.train(product())
    assert outcome.topic == "product_ready"
    assert [(sent.topic, sent.value) for sent in world.publisher.outcomes] == [
        ("segment_updated", segment("s1").to_json())
    ]
    assert await world.render(segment("s1")) is not None


async def test_a_pointer_from_the_future_does_not_pin_a_product(world: World) -> None:
    far = json.loads(concept("r-evil").to_json()) | {"occurred_at": "9999-12-31T23:59:59Z", "offset": 2**62}
    world.store.objects["concepts/jam/current.json"] = json.dumps(far).encode()
    await world.train(product())
    found = await current_concept(world.tools.signed, "jam")
    assert found is not None
    assert found.request_id != "r-evil"
