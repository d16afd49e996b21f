"""The vocabulary on the card: each thing that the family draws, with words that mean or suggest it."""

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
    "cyclist": ("road bike",),
    "bouquet": ("flowers", "flower"),
    "coat": ("jacket", "rain jacket"),
    "high heel": ("shoes",),
    "sneaker": ("running shoes", "shoe"),
    "smartphone": ("mobile phone", "cell phone"),
    "bubble tea": ("milkshake",),
}
"""Words for things that the family draws no better. Its captions do not use them."""


def vocabulary(drawn: list[Concept]) -> dict[str, list[str]]:
    """Return the words for each concept by its noun: its label, synonyms, tags, and things nearby."""
    return {concept.noun: _words(concept) for concept in drawn}


def _words(concept: Concept) -> list[str]:
    label = () if concept.label.startswith(OWN) else (concept.label,)
    words = (*label, *concept.synonyms, *NEARBY.get(concept.noun, ()), *concept.tags)
    return [word for word in dict.fromkeys(words) if word != concept.noun]
