"""Chooses what a segment's picture shows: one or two subjects, a place or surface, and the look of the brand.

The subjects are the first visible things of keywords, description, interests and name. Weights that draw a limited
number of things get the nearest of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas.events import SegmentUpdated
from streams.requests import ShownProduct
from streams.segments import features, sentence
from streams.segments.lexicon import sets
from streams.segments.mentions import UNREAD, Mention, read_features, read_mentions
from streams.segments.translation import Term
from streams.segments.visible import Thing, as_thing
from streams.segments.vocabulary import Vocabulary

_MOST_SUBJECTS, _MOST_FEATURES = 2, 4
_LANDMARKS = sets.words("landmarks")

REPEATED = "left out, another term names the same thing"
ENOUGH = "left out, the picture shows at most two things"
ONE_PLACE = "left out, the picture has one place or surface"
NOT_DRAWN = "left out, these weights draw nothing like it"
REPEATS_PRODUCT = "left out, it repeats what the product is"
PRODUCT_ALONE = "left out, the product stands alone unless a keyword has a weight above 1"
NO_LOOK = "left out, no colour, material, background, light or look"
ENOUGH_FEATURES = UNREAD.format(count=_MOST_FEATURES)
UNDRAWN = "these weights draw nothing near to what the event names, so the prompt names it all the same"
NOTHING_VISIBLE = "no field names a visible thing, so the prompt takes words as they are"


@dataclass
class Scene:
    """What a picture shows. mentions: every term of the event, with its fate.

    fallback: the line of the rationale if no subject could be chosen by the rules, and others stand in; else empty.
    """

    subjects: list[Mention] = field(default_factory=list)
    setting: Mention | None = None
    features: list[Mention] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)
    fallback: str = ""

    def by_importance(self) -> list[Mention]:
        """Return the parts of the picture, the most important first."""
        return [*self.subjects, *([self.setting] if self.setting else []), *self.features]

    def text(self, chosen: Sequence[Mention], closing: str = "") -> str:
        """Return the sentence for the chosen parts."""
        subjects = [mention.shown for mention in self.subjects if mention in chosen]
        setting = self.setting.shown if self.setting and self.setting in chosen else ""
        looks = [mention.shown for mention in self.features if mention in chosen]
        return sentence.sentence(subjects, setting, looks, closing)

    @property
    def closing(self) -> str:
        """The light of the picture, unless a feature names it."""
        named = any(features.names_light(mention.shown) for mention in self.features)
        return "" if named else sentence.CLOSING


def choose_scene(event: SegmentUpdated, product: ShownProduct | None, vocabulary: Vocabulary | None) -> Scene:
    """Return the scene of an event. Its subjects are empty if no field has a word."""
    chooser = _Chooser(product, vocabulary)
    mentions, brand = read_mentions(event), read_features(event)
    for mention in mentions:
        if not mention.fate:
            mention.fate = chooser.place(mention)
    for mention in brand:
        if mention.term.words:
            mention.fate = chooser.add_feature(mention)
    scene = chooser.scene
    scene.mentions = [*scene.subjects[:1], *mentions, *brand] if product else [*mentions, *brand]
    if not scene.subjects:
        _use_place_or_words(scene)
    return scene


class _Chooser:
    """Takes one term after the other into a scene. Each method returns why a term is left out, or nothing."""

    def __init__(self, product: ShownProduct | None, vocabulary: Vocabulary | None) -> None:
        self.scene = Scene()
        self._vocabulary = vocabulary
        self._product = product
        self._class = _heads(product.class_noun) if product else set()
        self._things: list[Thing] = []
        if product:
            shown = Mention("product_id", Term(product.words, product.words), shown=product.words)
            self.scene.subjects.append(shown)

    def place(self, mention: Mention) -> str:
        """Take a visible thing as a subject or as the place."""
        thing = mention.thing
        assert thing is not None
        if self._product and self._repeats_product(thing):
            return REPEATS_PRODUCT
        if any(thing.same_as(other) for other in self._things):
            return REPEATED
        is_place = thing.kind == "place" and _LANDMARKS.isdisjoint((thing.lemma, thing.lemma.rpartition(" ")[2]))
        reason = self._no_room(mention, is_place=is_place)
        if reason:
            return reason
        drawn = self._drawn(mention, thing)
        if drawn is None:
            return NOT_DRAWN
        if any(drawn.same_as(other) for other in self._things):
            return REPEATED
        self._things += [thing, drawn]
        mention.drawn = drawn
        if is_place:
            mention.shown = sentence.place_phrase(drawn)
            self.scene.setting = mention
        else:
            mention.shown = sentence.with_article(drawn.words)
            self.scene.subjects.append(mention)
        return ""

    def _no_room(self, mention: Mention, *, is_place: bool) -> str:
        if is_place:
            return ONE_PLACE if self.scene.setting else ""
        if self._product and (mention.field != "keywords" or mention.term.weight <= 1):
            return PRODUCT_ALONE
        return ENOUGH if len(self.scene.subjects) >= _MOST_SUBJECTS else ""

    def _repeats_product(self, thing: Thing) -> bool:
        """Return whether a thing is of the product's class: the nouns at the end of both are the same."""
        return not self._class.isdisjoint((thing.lemma, thing.lemma.rpartition(" ")[2]))

    def _drawn(self, mention: Mention, thing: Thing) -> Thing | None:
        """Return the thing as the picture shows it: the nearest one that the weights draw, None if nothing is near."""
        if self._vocabulary is None:
            words = sentence.as_seen(thing) if mention.field in {"description", "name"} else thing.words
            return Thing(words, thing.lemma, thing.kind, thing.original)
        nearest = self._vocabulary.nearest(thing)
        if nearest is None:
            return None
        mention.replaced = nearest != thing.words.lower()
        found = as_thing(nearest)
        return Thing(nearest, found.lemma if found else nearest, thing.kind, thing.original)

    def add_feature(self, mention: Mention) -> str:
        """Take a feature as the surface below the subjects, or as a look."""
        words = mention.term.words if mention.term.is_english else ""
        surface = features.surface(words)
        if surface is not None:
            if self.scene.setting:
                return ONE_PLACE
            mention.shown = sentence.surface_phrase(surface)
            self.scene.setting = mention
            return ""
        look = features.look(words)
        if look is None:
            return NO_LOOK if words else mention.fate
        if any(look == other.shown for other in self.scene.features):
            return REPEATED
        if len(self.scene.features) == _MOST_FEATURES:
            return ENOUGH_FEATURES
        mention.shown = look
        self.scene.features.append(mention)
        return ""


def _heads(class_noun: str) -> set[str]:
    """Return the nouns that a class noun is about, in the singular: `jar` and `jam` for `jars of jam`."""
    things = (as_thing(part) for part in class_noun.lower().split(" of "))
    return {word for thing in things if thing for word in (thing.lemma, thing.lemma.rpartition(" ")[2])}


def _use_place_or_words(scene: Scene) -> None:
    """Make the place the subject; without one, things that the weights hardly draw; without those, any words."""
    setting = scene.setting
    if setting is not None and setting.drawn is not None:
        setting.shown = sentence.with_article(setting.drawn.words)
        scene.subjects, scene.setting = [setting], None
        return
    undrawn = [mention for mention in scene.mentions if mention.fate == NOT_DRAWN]
    scene.subjects = (undrawn or _words(scene.mentions))[:_MOST_SUBJECTS]
    scene.fallback = UNDRAWN if undrawn else NOTHING_VISIBLE
    for mention in scene.subjects:
        mention.fate = ""
        mention.shown = sentence.with_article(mention.thing.words) if mention.thing else mention.term.words
    if not scene.subjects and setting is not None:
        setting.shown = setting.shown.removeprefix("on ")
        scene.subjects, scene.setting = [setting], None
    elif not scene.subjects:
        scene.subjects, scene.features = scene.features[:1], scene.features[1:]


def _words(mentions: Iterable[Mention]) -> list[Mention]:
    """Return the terms of the first field with English words; without any, those of the first field with words."""
    usable = [mention for mention in mentions if mention.term.words and mention.shown == "" and mention.term.weight > 0]
    for english in (True, False):
        for name in ("keywords", "interests", "name", "brand.features", "description"):
            found = [one for one in usable if one.field == name and one.term.is_english == english]
            if found:
                return found
    return []
