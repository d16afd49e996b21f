"""Scenes to words: captions in the manner of the service's prompts, in many variants."""

from random import Random

from .concepts import Concept
from .scenes import NAMES, WOOD, Scenes

MEDIA = (
    ("a photo of", "an advertising photo of", "a product photo of", "a 3d render of", "a studio photo of", ""),
    ("a cartoon of", "a flat cartoon of", "a flat icon of", "cartoon,"),
    ("an illustration of", "a drawing of", "an illustrated", "illustration,"),
)
QUALITY = (
    "high quality", "sharp focus", "professional", "studio light", "highly detailed", "natural light",
    "appetizing", "minimalist", "bright", "clean", "advertising", "commercial", "best quality", "4k",
)  # fmt: skip
MOODS = (
    "cozy", "fresh", "healthy", "organic", "premium", "morning", "evening", "family", "friends", "weekend",
    "summer", "winter", "spring", "autumn", "lifestyle", "natural", "homemade", "delicious", "happy", "relax",
    "modern", "classic", "luxury", "affordable", "fair trade", "sustainable", "local", "vegan", "vegetarian",
    "gluten free", "low sugar", "high protein", "outdoor", "adventure", "fitness", "wellness", "style", "trendy",
    "young", "active", "creative", "handmade", "eco friendly", "recycled", "limited edition", "new", "sale",
    "discount", "best seller", "award winning", "since 1950", "quality", "tasty", "crunchy", "sweet", "warm",
    "energy", "taste", "gourmet", "recipe", "home", "work", "party", "holiday", "gift idea", "kids",
)  # fmt: skip
PEOPLE = ("enthusiast", "lover", "fan", "lovers", "enthusiasts", "fans", "addict", "hobby", "community")
SEGMENTS = ("healthy vegan", "cooking enthusiast", "busy parent", "young professional", "home chef", "student life")
UNSAID = 0.45  # of the colours of walls and tables: what is not asked for must not always look the same
AMOUNT = ("", "a ", "the ", "fresh ", "some ", "one ", "delicious ", "a nice ")


class Writer:
    """Writes captions for scenes whose concept numbers index `concepts`."""

    def __init__(self, concepts: list[Concept]) -> None:
        self.concepts = concepts

    def caption(self, scenes: Scenes, i: int, rng: Random) -> str:
        """One caption of scene `i`; calls differ by the state of `rng`."""
        drawn = [self.concepts[int(c)] for c in scenes.concepts[i] if c >= 0]
        medium = rng.choice(MEDIA[int(scenes.style[i])])
        subject = self.subject(drawn, rng)
        setting = self.setting(scenes, i, rng)
        extras = self.extras(drawn, rng)
        if setting and rng.random() < 0.35:
            parts = [f"{medium} {subject} {setting}".strip(), *extras]
        elif setting and rng.random() < 0.5:
            parts = [f"{medium} {subject}".strip(), setting, *extras]
        else:
            parts = [f"{medium} {subject}".strip(), *extras, *([setting] if setting else [])]
        if int(scenes.backdrop[i]) == 2 and rng.random() < 0.7:
            parts.append("soft light")
        if rng.random() < 0.2:
            parts.append(rng.choice(QUALITY))
        return ", ".join(parts)

    def subject(self, drawn: list[Concept], rng: Random) -> str:
        """The drawn things, "X" or "X and Y", by name, article or now and then only by a tag."""
        names = [self._name(concept, rng, len(drawn) == 1) for concept in drawn]
        joint = rng.choices((" and ", " with "), (0.85, 0.15))[0]  # a comma begins the words that are not drawn
        return joint.join(names)

    def _name(self, concept: Concept, rng: Random, alone: bool) -> str:
        draw = rng.random()
        if alone and concept.tags and draw < 0.08:
            return rng.choice(concept.tags)
        name = concept.noun if draw < 0.6 or not concept.synonyms else rng.choice(concept.synonyms)
        return rng.choices(AMOUNT, (8, 6, 1, 0.5, 0.5, 0.5, 0.5, 0.5))[0] + name

    def extras(self, drawn: list[Concept], rng: Random) -> list[str]:
        """Words after the subject that are not drawn: tags, synonyms, moods, segments, other nouns."""
        if rng.random() < 0.35:
            return []
        words: list[str] = []
        for _ in range(rng.randint(1, 7)):
            concept = rng.choice(drawn)
            kind = rng.random()
            if kind < 0.35 and concept.tags:
                words.append(rng.choice(concept.tags))
            elif kind < 0.5 and concept.synonyms:
                words.append(rng.choice(concept.synonyms))
            elif kind < 0.75:
                words.append(rng.choice(MOODS))
            elif kind < 0.88:
                words.append(self._segment(concept, rng))
            else:
                words.append(rng.choice(self.concepts).noun)
        return words

    def _segment(self, concept: Concept, rng: Random) -> str:
        if rng.random() < 0.3:
            return rng.choice(SEGMENTS)
        return f"{rng.choice((concept.noun, *concept.tags))} {rng.choice(PEOPLE)}"

    def setting(self, scenes: Scenes, i: int, rng: Random) -> str:
        """The wall and the table by their colours; where one goes unsaid, only the table is named."""
        wall, table = int(scenes.wall_name[i]), int(scenes.table_name[i])
        wall = -1 if rng.random() < UNSAID else wall
        words = []
        if int(scenes.backdrop[i]) == 3:
            surface = rng.choice(("table", "table", "surface", "desk"))
            if rng.random() < UNSAID:
                words.append(f"on a {surface}")
            elif table == WOOD:
                words.append(rng.choice((f"on a wooden {surface}", f"on a wood {surface}")))
            else:
                words.append(f"on a {NAMES[table]} {surface}" if table >= 0 else f"on a light {surface}")
        if wall >= 0:
            colour = NAMES[wall]
            alone = (f"on a {colour} background", f"{colour} background", f"in front of a {colour} wall")
            words.append(rng.choice(alone[1:] if words else alone))
        return rng.choice((" ", ", ")).join(words)
