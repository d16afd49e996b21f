"""The current concept of a product, and the pinned concept of a request."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import structlog
from pydantic import Field, StringConstraints, model_validator

from models.briefs import StudioRecipe
from models.subjects import subject as subject_of
from schemas.base import Contract, Identifier, Method, Sha256, Timestamp
from streams.store.keys import concept_name, concept_prefix, current_concept_key, pinned_concept_key
from streams.store.signed_objects import Expected, SignedObjects

log = structlog.get_logger(__name__)

RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
_MAX_POINTER_BYTES = 16 * 1024


class CurrentConcept(Contract):
    """Points to a concept: the content of `concepts/<product_id>/current.json` and of a request's `concept.json`.

    occurred_at, offset: of the registration; a later registration replaces the pointer.
    weights: revision of the diffusion weights that the concept was trained on.
    """

    product_id: Identifier
    request_id: RequestId
    occurred_at: Timestamp
    offset: int = Field(ge=0)
    method: Method
    class_noun: str = Field(min_length=1, max_length=60)
    placeholder_token: str = Field(min_length=1, max_length=140)
    key: str
    sha256: Sha256
    weights: str = Field(max_length=200)

    @model_validator(mode="after")
    def _require_own_key(self) -> CurrentConcept:
        if self.key != concept_prefix(self.product_id, self.request_id) + concept_name(self.sha256):
            raise ValueError("the key is not that of this product, request and sha256")
        return self

    @property
    def subject(self) -> str:
        """The product's name in prompts."""
        return subject_of(self.placeholder_token, self.class_noun, self.method)


def diffusion_revision(recipe: StudioRecipe) -> str:
    """Return the revision of the recipe's diffusion weights, which decides whether a concept fits.

    The recipe's fingerprint is too strict for that: it also differs between GPU and CPU and between torch releases.
    """
    return next((model.revision for model in recipe.models if model.role == "diffusion"), "")


async def current_concept(
    signed: SignedObjects, product_id: str, latest: datetime | None = None
) -> CurrentConcept | None:
    """Return a product's current concept, or None if it has none.

    latest: a pointer with a later date counts as none. No registration can replace it, and none has such a date.
    """
    pointer = await signed.read(_current(product_id))
    if pointer is not None and latest is not None and pointer.occurred_at > latest:
        log.warning("ignoring a concept pointer with a date in the future", product_id=product_id)
        return None
    return pointer


async def make_current(signed: SignedObjects, concept: CurrentConcept, latest: datetime | None = None) -> None:
    """Make `concept` current unless a later registration is current. latest: see `current_concept`.

    The offset decides between registrations of the same time: one partition holds all registrations of a product.
    """
    current = await current_concept(signed, concept.product_id, latest)
    if current is not None:
        later = (current.occurred_at, current.offset) > (concept.occurred_at, concept.offset)
        if later or current == concept:
            return
    await signed.write(_current(concept.product_id), concept.to_json())


async def pinned_concept(signed: SignedObjects, prefix: str) -> CurrentConcept | None:
    """Return the concept pinned to the request below `prefix`, or None if none is pinned."""
    return await signed.read(_pinned(prefix))


async def pin_concept(signed: SignedObjects, prefix: str, concept: CurrentConcept) -> CurrentConcept:
    """Pin `concept` to a request. Return the pinned concept: `concept`, or the one that another delivery pinned first.

    All deliveries of a request write the same keys, so all must show the same concept even if the current one changes.
    """
    return await signed.write_once(_pinned(prefix), concept.to_json())


def _current(product_id: str) -> Expected[CurrentConcept]:
    def parse(content: bytes) -> CurrentConcept:
        pointer = CurrentConcept.model_validate_json(content)
        if pointer.product_id != product_id:
            raise ValueError("it points to a concept of another product")
        return pointer

    return Expected(current_concept_key(product_id), _MAX_POINTER_BYTES, parse)


def _pinned(prefix: str) -> Expected[CurrentConcept]:
    return Expected(pinned_concept_key(prefix), _MAX_POINTER_BYTES, CurrentConcept.model_validate_json)
