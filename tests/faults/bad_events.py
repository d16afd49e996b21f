"""Scenario 4: bad records among good ones."""

from __future__ import annotations

import json

from tests.faults.events import segment_event, segment_events
from tests.faults.invariants import InvariantChecker
from tests.faults.testbed import Testbed


def bad_inputs(name: str) -> list[tuple[bytes | None, bytes | None, str]]:
    """Return keys, values and a word that the dead letter's reason must contain."""
    good = segment_event(f"{name}-bad", "segment-0")

    def changed(number: int, **fields: object) -> bytes:
        return json.dumps({**good, "event_id": f"{name}-bad-{number}", **fields}).encode()

    without = {field: value for field, value in good.items() if field != "segment_id"}
    return [
        (b"k", b"\xff\xfe\x00", "UTF-8"),
        (b"k", b"{not json", "JSON"),
        (b"k", b"", "JSON"),
        (b"k", b"[1, 2]", "object"),
        (b"k", None, "null"),
        (b"k", json.dumps({**without, "event_id": f"{name}-bad-0"}).encode(), "segment_id"),
        (b"k", changed(1, name=17), "name"),
        (b"k", changed(2, description="x" * 900_000), "bytes"),
        (b"k", changed(3, segment_id="../../etc/passwd"), "segment_id"),
        (b"k", changed(4, segment_id="a/b"), "segment_id"),
        (b"k", changed(5, keywords=[{"term": f"t{n}"} for n in range(10_000)]), "keywords"),
        (b"k", changed(6, name="☕🫖😀"), "name"),
        (b"k", changed(7, occurred_at="23/11/2026"), "occurred_at"),
        (b"k", changed(8, occurred_at="2026-13-45T99:00:00Z"), "occurred_at"),
        (b"k", changed(9, occurred_at=1763892000), "occurred_at"),
        (b"k", changed(10, candidates=10_000), "candidates"),
        (b"k", changed(11, schema_version=99), "schema_version"),
        (b"k", b'{"a":' * 5_000, "JSON"),
        (None, b"no key and no JSON", "JSON"),
    ]


def odd_keys(name: str) -> list[tuple[bytes | None, bytes]]:
    """Return valid events with a wrong key and without a key.

    The worker must serve both: a key only chooses the partition. The value names the segment, and the outcome's key is
    that segment_id.
    """
    wrong, keyless = segment_event(f"{name}-wrong-key", "segment-1"), segment_event(f"{name}-no-key", "segment-2")
    return [(b"segment-of-somebody-else", json.dumps(wrong).encode()), (None, json.dumps(keyless).encode())]


async def bad_messages(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Send every kind of bad input, and good ones with odd keys, between good events of the same partitions."""
    worker = await testbed.start_worker()
    await worker.wait_until_ready()
    bad, odd = bad_inputs(testbed.name), odd_keys(testbed.name)
    events = segment_events(testbed.name, 40)
    good = [(str(event["segment_id"]).encode(), json.dumps(event).encode()) for event in events]
    mixed: list[tuple[bytes | None, bytes | None]] = []
    for number, pair in enumerate(good):
        mixed.append(pair)
        mixed += [(key, value) for key, value, _ in bad[number : number + 1]]
    await testbed.produce(*mixed, *odd)
    testbed.record_fault("bad input", len(bad))
    testbed.record_fault("odd key", len(odd))
    await checker.wait_for_outcomes(len(testbed.sent))
    explained = 0
    for _, value, word in bad:
        reason = checker.dead_letter_reason(next(sent for sent in testbed.sent if sent.value == value))
        explained += word in reason
        checker.expect(word in reason, f"expected {word!r} in the reason, got {reason!r}")
    served = sum(_answered_under_its_segment(checker, value) for _, value in odd)
    checker.expect(served == len(odd), f"{served} of {len(odd)} events with a wrong key or none were served")
    return (
        f"{explained} of {len(bad)} reasons name field and rule; "
        f"{served} of {len(odd)} events with a wrong key or none served"
    )


def _answered_under_its_segment(checker: InvariantChecker, value: bytes) -> bool:
    """Return whether the event has pictures and its outcome has the segment_id of its value as key."""
    event = json.loads(value)
    keys = {key for key, _ in checker.envelopes["event", event["event_id"]]}
    return bool(checker.pictures(event["event_id"])) and keys == {event["segment_id"].encode()}


async def too_many_dead_letters(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Exceed the dead-letter limit twice: with bad messages, which stop no worker, then with valid events that fail.

    The failing events stop the worker. It is started again and goes on slowly.
    """
    limits = {"CREATIVES_DELIVERY__DEAD_LETTER_LIMIT": "20", "CREATIVES_DELIVERY__DEAD_LETTER_WINDOW": "5"}
    worker = await testbed.start_worker(CREATIVES_DELIVERY__ATTEMPTS="1", **limits)
    await testbed.produce(*((b"k%d" % n, b"poison %d" % n) for n in range(100)))
    await testbed.emit(*segment_events(testbed.name, 10))
    testbed.record_fault("bad message", 100)
    await checker.wait_for_outcomes(len(testbed.sent), 120)
    codes = list(worker.exit_codes)
    checker.expect(not codes, f"exit codes {codes} of a worker that got bad messages")
    failing = [segment_event(f"{testbed.name}-raising-{n}", f"segment-{n}", "Coffee raising") for n in range(50)]
    await testbed.emit(*failing, *segment_events(f"{testbed.name}-after", 10))
    testbed.record_fault("valid event that fails", len(failing))
    await checker.wait_for_outcomes(len(testbed.sent), 120)
    codes = worker.exit_codes
    checker.expect(bool(codes) and 0 not in codes, f"exit codes {codes} of a worker above the dead-letter limit")
    return f"100 bad messages stopped no worker; {len(failing)} failing events stopped it {len(codes)} times"
