"""Fits a segment's scene into the context length of the text encoder, and explains the prompt.

Template 3: `an advertising photo of {subjects} {place or surface}, {look of the brand}, soft light`. The same event
always gives the same prompt. The rationale lists for each field which words the prompt uses, translates, replaces or
leaves out, and why.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property

from schemas.events import SegmentUpdated
from streams.failures import InvalidEvent
from streams.requests import Prompt, ShownProduct
from streams.segments import lexicon
from streams.segments.mentions import Mention
from streams.segments.rationale import rationale_lines, unused_fields
from streams.segments.scene import Scene, choose_scene
from streams.segments.sentence import sentence
from streams.segments.token_count import TokenCounter
from streams.segments.translation import things_in_prose
from streams.segments.vocabulary import Names, Vocabulary, names_digest

TEMPLATE_VERSION = 3


def prompt_settings(negative_prompt: str, vocabulary: Names | None = None) -> dict[str, str | int]:
    """Return the settings that decide a prompt apart from the event and the tokenizer; part of the recipe."""
    settings: dict[str, str | int] = {
        "template": TEMPLATE_VERSION,
        "word_tables": lexicon.digest(),
        "negative_prompt": negative_prompt,
    }
    return settings | ({"vocabulary": names_digest(vocabulary)} if vocabulary else {})


class Prompter:
    """Composes prompts. tokenizer: see `TokenCounter`. max_tokens: context length of the text encoder (77 for CLIP).

    vocabulary: the things that the weights draw, each with words for it; empty if they draw anything.
    """

    def __init__(self, tokenizer: str, max_tokens: int, negative_prompt: str, vocabulary: Names | None = None) -> None:
        self._tokens = TokenCounter(tokenizer)
        self._max_tokens = max_tokens
        self._negative = negative_prompt
        self._names = vocabulary
        self._vocabulary = Vocabulary(vocabulary) if vocabulary else None
        for language in ("en", "pl"):
            things_in_prose("a", language)  # reads the tables now and not during the first event

    @cached_property
    def recipe_settings(self) -> dict[str, str | int]:
        """See `prompt_settings`."""
        return prompt_settings(self._negative, self._names)

    def compose(self, event: SegmentUpdated, product: ShownProduct | None = None) -> Prompt:
        """Return the prompt of a segment. product: the product that the segment shows.

        Raises InvalidEvent if no field contains a usable word.
        """
        scene = choose_scene(event, product, self._vocabulary)
        if not scene.subjects:
            raise InvalidEvent(field="name", rule="holds no word that can go into a prompt")
        text, omitted = self._fit(scene)
        tokens = self._tokens.count(text)
        rationale = (
            f"template {TEMPLATE_VERSION}",
            *([scene.fallback] if scene.fallback else []),
            *rationale_lines(scene.mentions, omitted),
            *unused_fields(event),
            f"{tokens} of {self._max_tokens} tokens",
        )
        return Prompt(text, self._negative, rationale, tokens, TEMPLATE_VERSION)

    def _fit(self, scene: Scene) -> tuple[str, list[Mention]]:
        """Return the text of the most important terms that fit, and the omitted terms."""
        whole = scene.text(scene.by_importance(), scene.closing)
        if self._fits(whole):
            return whole, []
        chosen: list[Mention] = []
        omitted: list[Mention] = []
        for mention in scene.by_importance():
            if self._fits(scene.text([*chosen, mention])):
                chosen.append(mention)
            elif not chosen:
                mention.shown = self._shorten(mention.shown)
                chosen.append(mention)
            else:
                omitted.append(mention)
        with_closing = scene.text(chosen, scene.closing)
        return with_closing if self._fits(with_closing) else scene.text(chosen), omitted

    def _shorten(self, words: str) -> str:
        """Return as many of the words as fit, or the first letters if not even one word fits."""
        first, *_ = listed = words.split()
        pieces = [first[:count] for count in range(1, len(first))]
        pieces += [" ".join(listed[:count]) for count in range(1, len(listed) + 1)]
        longest = bisect_left(pieces, True, lo=1, key=lambda piece: not self._fits(sentence([piece]))) - 1
        return pieces[longest]

    def _fits(self, text: str) -> bool:
        return self._tokens.count(text) <= self._max_tokens
