"""Object keys, and ids that must not leave their prefix."""

from __future__ import annotations

import pytest

from streams.store.keys import creative_prefix, current_concept_key, parked_key, parked_product, picture_name


@pytest.mark.parametrize(
    "part", ["", ".", "..", "a/b", "a\\b", "a..b", ".a", "a b", "a\n", "a?b", "a#b", "a%2fb", "a\0"]
)
def test_an_unsafe_id_is_rejected(part: str) -> None:
    for key in (lambda: creative_prefix(part, "r"), lambda: creative_prefix("s", part),
                lambda: parked_key(part, "r"), lambda: current_concept_key(part)):  # fmt: skip
        with pytest.raises(ValueError, match="cannot be part of an object key"):
            key()


def test_keys_of_pictures_and_parked_segments() -> None:
    assert creative_prefix("coffee", "r1") + picture_name("story", 2, "0123456789abcdef" * 4, "image/jpeg") == (
        "creatives/coffee/r1/story-2-0123456789abcdef.jpg"
    )
    assert parked_key("jam", "r1") == "parked/jam/r1.json"


@pytest.mark.parametrize(
    ("key", "product"),
    [
        ("parked/jam/r-1.json", "jam"),
        ("parked/a..b/r-1.json", None),
        ("parked/../r-1.json", None),
        ("parked/jam/x/r-1.json", None),
        ("parked//r-1.json", None),
        ("parked/jam/r-1.json\n", None),
        ("photos/jam/r-1.json", None),
    ],
)
def test_only_keys_of_parked_segments_name_a_product(key: str, product: str | None) -> None:
    assert parked_product(key) == product
