"""Every code of a rejection or a dead letter, with its meaning and its cure. A test compares them with the errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A code. concerns: which event it answers; cure: what the emitter or the operator does."""

    code: str
    concerns: str
    meaning: str
    cure: str


REJECTIONS = (
    Code(
        "unusable_photos",
        "product",
        "Fewer than 3 photos are usable. The reason lists the problem of every other photo: a download that is "
        "forbidden, missing, refused by the object store or too large, or `[not_an_image]`, `[damaged]`, "
        "`[too_small]`, `[too_large]`, `[too_costly]`, `[animation]`, `[blank]`, `[copy]`.",
        "Replace the photos that the reason names. Register the product again with a new `event_id`.",
    ),
    Code(
        "photos_unavailable",
        "product",
        "Fewer than 3 photos arrived, and the host of at least one of the others gave no usable answer for "
        "`CREATIVES_TRAINING__PHOTO_TIMEOUT` seconds (600 unless set).",
        "Bring the host back, or upload the photos to the service's bucket. Register the product again with a new "
        "`event_id`.",
    ),
    Code(
        "unsupported_training",
        "product",
        "The worker's model has two text encoders (SDXL). Training needs Stable Diffusion 1.x or 2.x.",
        "Ask the operator for a worker with such weights, then send the event again: other weights make it a new "
        "request.",
    ),
    Code(
        "training_diverged",
        "product",
        "A weight became infinite or not a number during the training.",
        "Ask the operator to lower `CREATIVES_TRAINING__<METHOD>__LEARNING_RATE`, then send the event again: other "
        "training settings make it a new request.",
    ),
    Code(
        "concept_too_weak",
        "product",
        "The trained concept misses a threshold of the worker (`CREATIVES_TRAINING__MIN_FIDELITY` and others). "
        "`reason` lists the missed ones, `scores` holds all scores.",
        "Add photos from more sides and on more backgrounds, or raise `steps`. Register the product again with a new "
        "`event_id`.",
    ),
    Code(
        "nothing_passed",
        "segment",
        "No candidate passed the selection.",
        "Raise `candidates`, change the keywords, or set another `seed`. Send the segment with a new `event_id`.",
    ),
    Code(
        "product_not_ready",
        "segment",
        "The segment waited for its product for more than 30 days (`CREATIVES_TRAINING__MAX_PARKED_DAYS`). The product "
        "was never registered, or its training never succeeded.",
        "Register the product, or fix the cause of its rejection. Then send the segment with a new `event_id`.",
    ),
    Code(
        "refused",
        "both",
        "The request was refused for a reason without a code of its own.",
        "Act on `reason`. Send the request with a new `event_id`.",
    ),
)

DEAD_LETTERS = (
    Code(
        "invalid_event",
        "both",
        "The bytes are not an event: empty, larger than 256 KiB (`CREATIVES_DELIVERY__MAX_EVENT_BYTES`), not UTF-8, "
        "not a JSON object, or a field breaks its rule. Also a segment in which no field holds a usable word, an "
        "`occurred_at` too far in the future (`CREATIVES_DELIVERY__MAX_FUTURE`), and a number above a limit of the "
        "operator. The message names field and rule.",
        "Fix the emitter and send a correct event. Sending the dead letter again fails again, unless the operator has "
        "raised the limit that the message names.",
    ),
    Code(
        "unreadable_record",
        "both",
        "The record, or the whole batch that holds it, cannot be read: a damaged checksum, a codec or record format "
        "that this service does not know, or a batch that inflates to more than 8 MiB. The message names the offsets "
        "and the cause; the value holds the raw bytes.",
        "Fix the producer and send the events of these offsets again.",
    ),
    Code(
        "stage_failed",
        "both",
        "A stage on the device failed at every attempt (`CREATIVES_DELIVERY__ATTEMPTS`, 4 unless set). The message "
        "names stage and error.",
        "Look for the traceback in the worker's log and report it. Send the event again after the fix.",
    ),
    Code(
        "too_large_for_device",
        "both",
        "This event alone did not fit into the memory of a fresh device process, as often as "
        "`CREATIVES_DEVICE__MAX_CRASHES` allows (3 unless set), while nothing else used more of the device than usual. "
        "A device that is full for another reason is an outage: the event waits.",
        "Ask the operator to lower `CREATIVES_STUDIO__BUCKET` or `CREATIVES_STUDIO__SIZE`; for a product, the `BATCH` "
        "of its method. Send the event again.",
    ),
    Code(
        "device_process_died",
        "both",
        "This event alone killed or hung the device process as often as `CREATIVES_DEVICE__MAX_CRASHES` allows "
        "(3 unless set). Other events are served.",
        "Look for the cause in the worker's log: a crash of a library, or not enough memory. Send the event again "
        "after the fix.",
    ),
    Code(
        "concept_unusable",
        "segment",
        "The worker's model cannot load the concept of the product: its file is damaged or of another architecture.",
        "Register the product again with a new `event_id`. Then send the segment with a new `event_id`.",
    ),
    Code(
        "object_missing",
        "segment",
        "The object store lost the file of the product's concept, or holds other bytes.",
        "Restore the file, or register the product again with a new `event_id` and send the segment with a new one.",
    ),
    Code(
        "training_unsupported_by_weights",
        "product",
        "The worker cannot train with its weights: a file that the training needs is missing, damaged, or of "
        "another architecture.",
        "Ask the operator to fix `CREATIVES_STUDIO__DIFFUSION` or `CREATIVES_STUDIO__DINO`. Send the event again.",
    ),
)

UNEXPECTED = Code(
    "any other",
    "both",
    "An error that the service does not expect, at every attempt. The code is the name of its class, such as "
    "`value_error` or `os_error`.",
    "Report it with `dead_message` and the worker's log. Send the event again after the fix.",
)


def table(codes: Sequence[Code]) -> str:
    """Return the codes as a table in Markdown."""
    rows = [f"| {_quote_code(one.code)} | {one.concerns} | {one.meaning} | {one.cure} |" for one in codes]
    return "\n".join(["| code | event | meaning | what to do |", "|---|---|---|---|", *rows])


def _quote_code(code: str) -> str:
    return code if " " in code else f"`{code}`"
