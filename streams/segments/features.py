"""Which features of a brand's advertising a picture can show: colours, materials, background, light and look."""

from __future__ import annotations

from streams.segments.lexicon import sets
from streams.segments.visible import as_thing

_COLOURS, _LOOKS, _DEGREES, _LIGHTS, _SURFACES = map(sets.words, ("colours", "looks", "degrees", "lights", "surfaces"))
_MOST_WORDS = 8


def look(words: str) -> str | None:
    """Return the feature as the prompt words it, None if it is no look. `green` alone becomes `green tones`."""
    listed = words.lower().split()
    visible = _COLOURS | _LOOKS
    if len(listed) > _MOST_WORDS or not visible.issuperset(listed) or _DEGREES.issuperset(listed):
        return None
    return f"{words.lower()} tones" if (_COLOURS | {"and"}).issuperset(listed) else words.lower()


def surface(words: str) -> str | None:
    """Return the surface that a feature names, such as `wooden table`, None if it names none."""
    listed = words.lower().removeprefix("on ").removeprefix("a ").split()
    thing = as_thing(" ".join(listed)) if listed and listed[-1] in _SURFACES else None
    return thing.lemma if thing is not None else None


def names_light(words: str) -> bool:
    """Return whether a feature names the light. `light` before another word is a shade: `light blue background`."""
    listed = words.lower().split()
    return any(
        word in _LIGHTS and (word != "light" or listed[number + 1 : number + 2] in ([], ["from"]))
        for number, word in enumerate(listed)
    )
