"""The event `product-registered`: a product and its photos, for the service to train a concept on."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, StringConstraints

from schemas.base import (
    AtMost,
    Identifier,
    InputEvent,
    InputVersion,
    Method,
    Name,
    Seed,
    Timestamp,
    WholeNumber,
    require_letter,
    rule,
)

ClassNoun = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=60),
    AfterValidator(require_letter),
    rule("1 to 60 characters, at least one letter"),
]
PhotoUri = Annotated[
    str,
    StringConstraints(pattern=r"^(s3|https)://[^\s]{1,2000}$"),
    rule("`s3://` or `https://` and 1 to 2,000 characters without spaces"),
]


class ProductRegistered(InputEvent):
    """Asks for a concept of a product, trained on its photos. Topic `product-registered`, key `product_id`."""

    undecisive: ClassVar[dict[str, Any]] = {**InputEvent.undecisive, "name": True}

    schema_version: InputVersion = 1
    event_id: Identifier = Field(
        description="Your id of this event; the answer carries it. The same event always gets the same answer. A "
        "corrected event under the same `event_id` is trained, unless only `occurred_at` or `name` changed: they "
        "decide nothing. Photos count by their addresses: send a new `event_id` if you replace a photo in place.",
        examples=["product-mleko-laka-2026-11-23"],
    )
    occurred_at: Timestamp = Field(
        description="When the product was registered in your system, at most a day ahead of the worker's clock "
        "(`CREATIVES_DELIVERY__MAX_FUTURE`). New segments show the concept of the successful "
        "registration with the latest `occurred_at`.",
        examples=["2026-11-23T09:20:00Z"],
    )
    product_id: Identifier = Field(
        description="Your id of the product. Use it as the message key too; segments name the product by it.",
        examples=["mleko-laka"],
    )
    name: Name = Field(
        description="The product's name, for people. Neither training nor prompts use it.",
        examples=["Łąka milk 3.2 %"],
    )
    class_noun: ClassNoun = Field(
        description="The ordinary English words for this kind of product. Training starts from them, "
        "and DreamBooth prompts contain them: `sks carton of milk`.",
        examples=["carton of milk"],
    )
    images: Annotated[tuple[PhotoUri, ...], Field(min_length=3), AtMost(30)] = Field(
        description="Addresses of the photos: `s3://<the service's bucket>/photos/...`, or `https://` on a host that "
        "`CREATIVES_TRAINING__ALLOWED_HOSTS` names. Training needs 3 usable ones of at most 20 MiB each.",
        examples=[[f"s3://creatives/photos/mleko-laka/{number}.png" for number in (1, 2, 3)]],
    )
    method: Method = Field(
        default="dreambooth",
        description="What to train. `dreambooth`: all weights of the UNet; the closest likeness, and a file as large "
        "as the UNet. `dreambooth_lora`: low-rank adapters, a few MB. `textual_inversion`: word vectors, a few KB.",
        examples=["dreambooth_lora"],
    )
    steps: Annotated[int, Field(strict=True, ge=1, le=100_000), WholeNumber] | None = Field(
        default=None,
        description="Training steps, at most `CREATIVES_TRAINING__MAX_STEPS` of the worker, which is 5,000 unless set. "
        "Default: `CREATIVES_TRAINING__<METHOD>__STEPS` of the worker, else the model "
        "family's own (demo family: 300), else 800 for both DreamBooths and 3,000 for Textual Inversion.",
        examples=[800],
    )
    seed: Seed | None = Field(
        default=None,
        description="Fixes the random numbers of the training. Default: derived from the request id.",
        examples=[20261123],
    )
