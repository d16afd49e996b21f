"""The vocabulary on the card: each thing that the family draws, with words that mean or suggest it."""

from streams.segments.lexicon import english

from .concepts import OWN, Concept

NEARBY = {
    "weightlifter": ("dumbbell", "kettlebell"),
    "ramen": ("instant noodles",),
    "potted plant": ("houseplant", "succulent", "watering can"),
    "books": ("novel", "cookbook", "textbook", "notebook"),
    "open book": ("diary",),
    "hot dog": ("sausage",),
    "baby bottle": ("formula milk",),
    "baby": ("pram", "stroller", "crib", "nappy", "diaper"),
    "surfer": ("surfboard",),
    "yoga": ("yoga mat", "pilates"),
    "lotion": ("face cream", "hand cream", "sunscreen", "shampoo"),
    "dog": ("dog lead", "dog treats", "pet"),
    "game controller": ("video game", "game console", "gamer"),
    "soda": ("energy drink", "lemonade"),
    "runner": ("marathon", "jogger"),
    "teddy bear": ("toy", "plush toy"),
    "television": ("tv",),
    "cyclist": ("road bike",),
    "bouquet": ("flowers", "flower"),
    "coat": ("jacket", "rain jacket"),
    "high heel": ("shoes",),
    "sneaker": ("running shoes", "shoe"),
    "hiking boot": ("boot",),
    "cooking pot": ("pot",),
    "sun hat": ("hat",),
    "light bulb": ("bulb",),
    "chili pepper": ("pepper",),
    "shopping cart": ("cart",),
    "world map": ("map",),
    "smartphone": ("mobile phone", "cell phone"),
    "bubble tea": ("milkshake",),
}
"""Words for things that the family draws no better. Its captions do not use them."""
_VAGUE = {"bottle", "box", "ball", "paper", "glass", "food", "wheel", "board", "party", "nature", "lamp", "collar"}
"""Tags that also fit things that look different."""


def vocabulary(drawn: list[Concept]) -> dict[str, list[str]]:
    """Return the words for each concept by its noun: its label, synonyms, tags, and things nearby."""
    return {concept.noun: _words(concept) for concept in drawn}


def _words(concept: Concept) -> list[str]:
    label = () if concept.label.startswith(OWN) else (concept.label,)
    tags = [tag for tag in concept.tags if _is_alike(tag, concept.noun)]
    words = (*label, *concept.synonyms, *NEARBY.get(concept.noun, ()), *tags)
    return [word for word in dict.fromkeys(words) if word != concept.noun]


def _is_alike(tag: str, noun: str) -> bool:
    """Return whether a tag names a thing of the same kind. Others mislead: `face` is a tag of the puppy."""
    first, second = english.noun(tag), english.noun(noun.rpartition(" ")[2])
    return tag not in _VAGUE and first is not None and second is not None and first.kind == second.kind
