"""Request ids and seeds."""

from __future__ import annotations

from streams.requests import request_id, seeds_from


def test_request_ids_depend_on_event_recipe_and_regeneration() -> None:
    one = request_id("e1", "f", 0)
    assert one == request_id("e1", "f", 0) == "711c257a-28f7-57ec-91c1-49f545abd688"
    assert len({one, request_id("e2", "f", 0), request_id("e1", "g", 0), request_id("e1", "f", 1)}) == 4


def test_seeds_are_stable_and_distinct() -> None:
    seeds = seeds_from("x", 64)
    assert seeds[:8] == seeds_from("x", 8)
    assert len(set(seeds)) == 64
    assert all(0 <= seed < 2**63 for seed in seeds)
