"""Words a prompt as a sentence: articles, prepositions, and the order of its parts."""

from __future__ import annotations

from collections.abc import Sequence

from streams.segments.lexicon import english, sets
from streams.segments.visible import Thing

OPENING = "an advertising photo of"
CLOSING = "soft light"
_MASS, _SINGULAR_IN_S, _SEEN_TOGETHER = map(sets.words, ("mass", "singular_in_s", "seen_together"))
_TIMES, _PLACES_ON, _UNIQUE = map(sets.words, ("times", "places_on", "unique"))
_VOWEL_SOUNDS, _CONSONANT_SOUNDS = ("hour", "honest", "heir"), ("uni", "use", "usb", "eu", "ukulele", "one-", "ufo")


def sentence(subjects: Sequence[str], setting: str = "", features: Sequence[str] = (), closing: str = "") -> str:
    """Return the prompt: subjects, then where they are, then what the picture looks like."""
    first = " ".join([OPENING, " and ".join(subjects), *([setting] if setting else [])])
    return ", ".join([first, *features, *([closing] if closing else [])])


def with_article(words: str) -> str:
    """Return a thing with `a` or `an`, or `the sun`. Plurals and mass nouns such as `coffee` take none."""
    head = words.partition(" of ")[0].lower()
    if _is_mass(head) or is_plural(head):
        return words
    return f"{'the' if head in _UNIQUE else _article(words.lower())} {words}"


def is_plural(words: str) -> bool:
    """Return whether the last word is a plural."""
    last = words.lower().rpartition(" ")[2]
    noun = english.noun(last)
    if noun is not None and noun.words.lower() != last:
        return True
    return last.endswith("s") and not last.endswith(("ss", "us", "is")) and last not in _SINGULAR_IN_S


def _is_mass(words: str) -> bool:
    """Return whether the noun takes no article."""
    noun = english.noun(words)
    return words.rpartition(" ")[2] in _MASS or (noun is not None and noun.kind == "matter")


def _article(words: str) -> str:
    if words.startswith(_VOWEL_SOUNDS):
        return "an"
    return "an" if words[0] in "aeiou" and not words.startswith(_CONSONANT_SOUNDS) else "a"


def as_seen(thing: Thing) -> str:
    """Return what prose names in the number that one sees: `they walk their dogs` shows a dog, but shoes."""
    head = thing.lemma.rpartition(" ")[2]
    one = " of " not in thing.words and head not in _SEEN_TOGETHER and thing.kind in {"animal", "person", "thing"}
    return thing.lemma if one and thing.words.lower() != thing.lemma else thing.words


def place_phrase(thing: Thing) -> str:
    """Return where the picture is: `in a park`, `on a beach`, `in the mountains`."""
    head = thing.lemma.rpartition(" ")[2]
    for words in (thing.lemma, head):
        if words in _TIMES:
            return f"at {thing.lemma}"
        if words in sets.PLACE_PHRASES:
            return sets.PLACE_PHRASES[words].replace(words, thing.lemma)
    if head in {"mountain", "hill", "alp"} and is_plural(thing.words):
        return f"in the {thing.words}"
    preposition = "on" if thing.lemma in _PLACES_ON or head in _PLACES_ON else "in"
    return f"{preposition} {with_article(thing.lemma)}"


def surface_phrase(words: str) -> str:
    """Return what the subjects stand on: `on a wooden table`."""
    return f"on {with_article(words)}"
