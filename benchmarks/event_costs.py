"""How long can one event hold up the worker's main loop? `python -m benchmarks.event_costs [SECONDS]`

Plays the worst events that 256 KiB allow: every field with every kind of bad content (long and expanding texts, deep
nesting, many entries, many faults, huge numbers), events at every limit of the contract, then mixtures for SECONDS
(20): a random search that changes the slowest mixture so far. The device and the store answer at once; everything else
is the worker's own code. Prints the slowest events, with the longest time between two turns of the loop. It is CPU time
of the loop's thread: that of a busy machine would be other programs' time.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.events import ProductRegistered, SegmentUpdated, Source
from streams.failures import InvalidEvent
from streams.kafka.decoding import EventLimits, decode
from streams.messages import RawEvent
from streams.requests import Tools
from streams.segments.prompting import Prompter
from streams.segments.render import render_segment
from streams.settings import Settings
from tests.fakes import FakeDevice, MemoryStore

SIZE = 256 * 1024
TOKENIZER = Path(__file__).parents[1] / "models" / "demo" / "diffusion" / "tokenizer"
SEGMENT = {"event_id": "e", "occurred_at": "2026-11-23T10:00:00Z", "segment_id": "s", "name": "coffee"}
PRODUCT = {
    "event_id": "e", "occurred_at": "2026-11-23T10:00:00Z", "product_id": "p", "name": "jam", "class_noun": "jar",
    "images": ["s3://b/photos/1.png", "s3://b/photos/2.png", "s3://b/photos/3.png"],
}  # fmt: skip
TEXTS = {
    "letters": "x", "words": "x y ", "things": "bread ", "expanding": "\ufdfa", "doubling": "ﬁ",
    "marks": "a\u0344\u0327", "only marks": "\u0344\u0345\u0327\u0301\u0316", "hangul": "\u1100\u1161",
    "Polish": "źdźbło ", "signs": "&", "digits": "1", "dots": ".", "spaces": " ", "emoji": "☕", "colons": ":",
    "surrogates": "😀", "dates": "2026-11-23T10:00:00.", "T": "T",
}  # fmt: skip
ENTRIES = [
    "0",
    "{}",
    "[]",
    '""',
    '"x"',
    "null",
    "1e400",
    '{"term":0}',
    '{"term":"x","weight":"x"}',
    '"s3://b"',
    '"story"',
]


@dataclass(frozen=True)
class Result:
    """A played event. milliseconds: the longest time between two turns of the loop."""

    milliseconds: float
    name: str
    value: bytes
    end: str


def wrong_contents() -> Iterator[tuple[str, Callable[[int], str]]]:
    """Yield names of contents, each with a function that returns about `size` bytes of JSON text."""
    for name, text in TEXTS.items():
        yield f"text of {name}", lambda size, text=text: json.dumps(_fill(text, size), ensure_ascii=False)
        yield f"escaped {name}", lambda size, text=text: json.dumps(_fill(text, size // 6))
    for entry in ENTRIES:
        yield f"list of {entry}", lambda size, entry=entry: f"[{','.join([entry] * (size // (len(entry) + 1)))}]"
    yield "distinct texts", lambda size: json.dumps([f"{n:06}" for n in range(size // 10)])
    yield "nested lists", lambda size: "[" * (size // 2) + "]" * (size // 2)
    yield "open lists", lambda size: "[" * size
    yield "lists of 190 lists", lambda size: f"[{','.join(['[' * 190 + ']' * 190] * (size // 381))}]"
    yield "nested objects", lambda size: '{"a":' * (size // 6) + "0" + "}" * (size // 6)
    yield "object of many fields", lambda size: json.dumps({f"f{n}": n for n in range(size // 16)})
    yield "long integer", lambda size: "1" * size
    yield "long integers", lambda size: f"[{','.join(['1' * 4000] * (size // 4001))}]"
    yield "long fraction", lambda size: "0." + "1" * size
    yield "long exponent", lambda size: "1e" + "9" * size


def _fill(text: str, size: int) -> str:
    """Return the text repeated to about `size` bytes."""
    return text * max(1, size // len(text.encode()))


def with_field(base: dict[str, object], path: str, content: str) -> bytes:
    """Return an event whose field at `path` has the content, as JSON text."""
    head, *rest = path.split(".")
    value = content
    for name in reversed(rest):
        value = f"[{value}]" if name == "[]" else f'{{"term":"x","name":"x","headline":"x","{name}":{value}}}'
    fields = json.dumps({name: given for name, given in base.items() if name != head})[:-1]
    return f'{fields},"{head}":{value}}}'.encode()


FIELDS = {
    "segment": (
        SEGMENT,
        [*SegmentUpdated.model_fields, "copy", "unknown", "keywords.[].term", "keywords.[].weight", "interests.[].en",
         "brand.name", "brand.features", "brand.features.[].term", "copy.headline"],
    ),
    "product": (PRODUCT, [*ProductRegistered.model_fields, "unknown", "images.[]"]),
}  # fmt: skip


def wrong_events() -> Iterator[tuple[str, bytes]]:
    """Yield an event for each field and each content, with the largest content that fits."""
    for kind, (base, paths) in FIELDS.items():
        for path in paths:
            for name, content in wrong_contents():
                yield f"{kind}, {path}: {name}", with_field(base, path, content(SIZE - 700))


def largest_events() -> Iterator[tuple[str, bytes]]:
    """Yield valid events that are at every limit of the contract, one for each text, without and with English forms."""
    for first, text in TEXTS.items():
        for second, english in [("none", None), (first, text)]:
            for language in ("en", "pl"):
                yield f"{first} with English form: {second}, {language}", largest_event(text, english, language)


def largest_event(text: str, english: str | None, language: str) -> bytes:
    """Return the event with as many keywords as fit."""

    def terms(count: int) -> list[dict[str, str]]:
        forms = {"term": text} if english is None else {"term": text, "en": english}
        return [{name: f"a{n} {_limited(form, 190)}" for name, form in forms.items()} for n in range(count)]

    fields = {**SEGMENT, "language": language, "description": _limited(text, 4000), "name": f"a{_limited(text, 190)}"}
    value = b""
    for count in (200, 150, 100, 60, 30):
        lists = {"keywords": terms(count), "interests": terms(count // 2)}
        brand = {"name": "b", "features": terms(count // 4)}
        value = json.dumps({**fields, **lists, "brand": brand}, ensure_ascii=False, separators=(",", ":")).encode()
        if len(value) <= SIZE:
            break
    return value


def _limited(text: str, length: int) -> str:
    return (text * length)[:length]


def mixture(chance: random.Random) -> dict[str, tuple[str, int]]:
    """Return some fields of a segment, each with the name of a content and a share of the bytes."""
    contents = dict(wrong_contents())
    paths = chance.sample(FIELDS["segment"][1], chance.randint(2, 6))
    return {
        path.partition(".")[0]: (chance.choice(list(contents)), chance.choice((200, 4_000, 40_000))) for path in paths
    }


def mixed_event(mixed: dict[str, tuple[str, int]]) -> bytes:
    """Return the event of a mixture."""
    contents = dict(wrong_contents())
    fields = "".join(f',"{path}":{contents[name](size)}' for path, (name, size) in mixed.items())
    others = {name: given for name, given in SEGMENT.items() if name not in mixed}
    return (json.dumps(others)[:-1] + fields + "}").encode()


class Player:
    """Plays events on a loop with a heartbeat. tools: of a worker whose device and store answer at once."""

    def __init__(self, folder: Path) -> None:
        studio, training = {"candidates": 1, "images": 1}, {"workdir": str(folder)}
        storage = {"signing_keys": "b" * 64}
        settings = Settings.model_validate({"studio": studio, "training": training, "storage": storage})
        self.tools = Tools(FakeDevice(), MemoryStore(), Prompter(str(TOKENIZER), 77, ""), settings)
        self.limits = EventLimits(settings)

    async def play(self, name: str, value: bytes, rounds: int = 5) -> Result:
        """Return the shortest of `rounds` measurements: a busy machine only adds time."""
        assert len(value) <= SIZE, (name, len(value))
        ends = [await self._measure(name, value) for _ in range(rounds)]
        return min(ends, key=lambda result: result.milliseconds)

    async def _measure(self, name: str, value: bytes) -> Result:
        longest, last, running = 0.0, time.thread_time(), True

        async def heartbeat() -> None:
            nonlocal longest, last
            while running:
                await asyncio.sleep(0)
                now = time.thread_time()
                longest, last = max(longest, now - last), now

        beating = asyncio.create_task(heartbeat())
        await asyncio.sleep(0)
        end = await self._handle(name, value)
        running = False
        await beating
        return Result(longest * 1000, name, value, end)

    async def _handle(self, name: str, value: bytes) -> str:
        self.tools.store.objects.clear()  # type: ignore[attr-defined] - else the manifest answers
        raw = RawEvent(Source(topic="t", partition=0, offset=0), b"k", value)
        try:
            if name.startswith("product"):
                decode(raw, ProductRegistered, self.limits)
            else:
                await render_segment(decode(raw, SegmentUpdated, self.limits), raw.source, self.tools)
        except InvalidEvent as error:
            return str(error)[:60]
        return "served"


async def search(player: Player, seconds: float) -> list[Result]:
    """Return the slowest mixtures that a search of so many seconds finds."""
    chance, end, found = random.Random(20261128), time.monotonic() + seconds, []  # noqa: S311 - a search
    best, slowest = mixture(chance), 0.0
    while time.monotonic() < end:
        tried = {**best, **mixture(chance)} if chance.random() < 0.5 else mixture(chance)
        value = mixed_event(tried)
        if len(value) > SIZE:
            continue
        result = await player.play(f"mixture {tried}", value, rounds=1)
        found.append(result)
        if result.milliseconds > slowest:
            best, slowest = tried, result.milliseconds
    return found


async def main(seconds: float) -> None:
    """Play everything and print the slowest events."""
    with TemporaryDirectory() as folder:
        player = Player(Path(folder))
        gc.collect()
        gc.freeze()  # as a worker does once it is ready
        for warm in ("en", "pl"):
            await player.play("warm-up", largest_event("źdźbło ", "bread ", warm))
        played = [await player.play(name, value, rounds=1) for name, value in (*largest_events(), *wrong_events())]
        played += await search(player, seconds)
        slowest = sorted(played, key=lambda result: -result.milliseconds)[:30]
        results = [await player.play(result.name, result.value) for result in slowest]
    results.sort(key=lambda result: -result.milliseconds)
    print(f"{len(played)} events of up to {SIZE // 1024} KiB. Longest time between two turns of the loop:")
    for result in results[:15]:
        print(f"{result.milliseconds:7.1f} ms  {len(result.value):7} bytes  {result.name[:90]}: {result.end}")


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0))
