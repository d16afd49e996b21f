"""Object keys, and ids that must not leave their prefix."""

from __future__ import annotations

import pytest

from streams.store.keys import creative_prefix, current_concept_key, parked_key, picture_name


@pytest.mark.parametrize(
    "part", ["", ".", "..", "a/b", "a\\b", "a..b", ".a", "a b", "a\n", "a?b", "a#b", "a%2fb", "a\0"]
)
def test_an_unsafe_id_is_rejected(part: str) -> None:
    for key in (lambda: creative_prefix(part, "r"), lambda: creative_prefix("s", part),
                lambda: parked_key(part, "r"), lambda: current_concept_key(part)):  # fmt: skip
        with pytest.raises(ValueError, match="cannot be part of an object key"):
            key()


def test_keys_of_pictures_and_parked_segments() -> None:
    assert creative_prefix("coffee", "r1") + picture_name("story", 2, "image/jpeg") == "creatives/coffee/r1/story-2.jpg"
    assert parked_key("jam", "r1") == "parked/jam/r1.json"
