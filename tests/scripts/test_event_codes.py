"""docs/events.md names every code that a rejection or a dead letter can carry, and no other."""

import streams.app  # noqa: F401 - loads every module that defines an error
from models.errors import CreativesError, Refused
from scripts.contract_docs.event_codes import DEAD_LETTERS, REJECTIONS
from streams.failures import InvalidEvent, code_of, judge

# Errors that `judge` would dead-letter, but that never leave the code that raises them, or only end the process.
NEVER_DELIVERED = {
    "stream_error",  # the base class
    "address_forbidden",  # of one photo; fetching collects them
    "object_too_large",
    "photo_refused",
    "photo_unavailable",
    "certificate_unusable",  # of the start, before any event is read
    "no_services",
    "port_taken",
    "signing_key_missing",
    "topics_forbidden",
    "topics_missing",
    "unknown_settings",
    "device_stuck",  # these three end the worker
    "weights_changed",
    "unsettled",
}


def subclasses(error):
    for child in error.__subclasses__():
        if child.__module__.startswith(("models.", "streams.")) and not child.__module__.startswith("streams.cli"):
            yield child
            yield from subclasses(child)


def test_every_rejection_code_is_documented():
    codes = {error.code for error in (Refused, *subclasses(Refused))}
    assert codes == {code.code for code in REJECTIONS}


def test_every_dead_letter_code_is_documented():
    fields = {"crashes": 3, "limit": 3, "reason": "r"}
    dead_letter = judge(InvalidEvent(field="name", rule="wrong"), 1, 4)
    errors = [kind(**fields) for kind in subclasses(CreativesError) if not issubclass(kind, Refused)]
    codes = {code_of(error) for error in errors if judge(error, 4, 4) is dead_letter}
    documented = {code.code for code in DEAD_LETTERS}
    assert codes - NEVER_DELIVERED == documented
    assert codes > NEVER_DELIVERED


def test_a_code_stands_once_and_comes_with_a_cure():
    codes = [*REJECTIONS, *DEAD_LETTERS]
    assert len({code.code for code in codes}) == len(codes)
    assert all(code.meaning.endswith(".") and code.cure.endswith(".") for code in codes)
    assert {code.concerns for code in codes} <= {"segment", "product", "both"}
