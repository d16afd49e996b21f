"""The event `product-registered`: a product and its photos, for the service to train a concept on."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from schemas.base import Contract, Identifier, InputVersion, Method, Name, Timestamp, require_letter, rule

ClassNoun = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=60),
    AfterValidator(require_letter),
    rule("1 to 60 characters, at least one letter"),
]
PhotoUri = Annotated[
    str,
    StringConstraints(pattern=r"^(s3://[^\r\n]{1,2000}|https://[^\s]{1,2000})$"),
    rule("`s3://` or `https://` and 1 to 2,000 characters; a URL has no spaces"),
]


class ProductRegistered(Contract):
    """Asks for a concept of a product, trained on its photos. Topic `product-registered`, key `product_id`."""

    schema_version: InputVersion = 1
    event_id: Identifier = Field(
        description="Your id of this event. The request id derives from it, so the same `event_id` always gets the "
        "same answer. Register again with a new one after you change photos or any other field.",
        examples=["product-mleko-laka-2026-11-23"],
    )
    occurred_at: Timestamp = Field(
        description="When the product was registered in your system. New segments show the concept of the successful "
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
    images: tuple[PhotoUri, ...] = Field(
        min_length=3,
        max_length=30,
        description="Addresses of the photos: `s3://<the service's bucket>/photos/...`, or `https://` on a host that "
        "`CREATIVES_TRAINING__ALLOWED_HOSTS` names. Training needs 3 usable ones of at most 20 MiB each. After the "
        "bucket, write the object's key as it is, with spaces, accents and `+`: `s3://creatives/photos/my jar.jpg`. "
        "Keys as events of S3 and MinIO encode them (`my+jar.jpg`, `my%20jar.jpg`) work if they name one object alone.",
        examples=[[f"s3://creatives/photos/mleko-laka/{number}.png" for number in (1, 2, 3)]],
    )
    method: Method = Field(
        default="dreambooth",
        description="What to train. `dreambooth`: all weights of the UNet; the closest likeness, and a file as large "
        "as the UNet. `dreambooth_lora`: low-rank adapters, a few MB. `textual_inversion`: word vectors, a few KB.",
        examples=["dreambooth_lora"],
    )
    steps: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=100_000,
        description="Training steps. Default: `CREATIVES_TRAINING__<METHOD>__STEPS` of the worker, else the model "
        "family's own (demo family: 300), else 800 for both DreamBooths and 3,000 for Textual Inversion.",
        examples=[800],
    )
    seed: int | None = Field(
        default=None,
        strict=True,
        ge=0,
        le=2**63 - 1,
        description="Fixes the random numbers of the training. Default: derived from the request id.",
        examples=[20261123],
    )
