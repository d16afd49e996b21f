"""Which concept of a product is current, and which one a request shows."""

from __future__ import annotations

from models.briefs import StudioRecipe
from models.briefs import subject as subject_of
from schemas.base import Contract, Method, Timestamp
from streams.store.keys import current_concept_key, pinned_concept_key
from streams.store.protocol import ObjectStore


class CurrentConcept(Contract):
    """The pointer `concepts/<product_id>/current.json`, and what a request's `concept.json` holds.

    occurred_at, offset: of the registration; a later one replaces it. weights: of the model that learned it.
    """

    product_id: str
    request_id: str
    occurred_at: Timestamp
    offset: int
    method: Method
    class_noun: str
    placeholder_token: str
    key: str
    sha256: str
    weights: str

    @property
    def subject(self) -> str:
        """How a prompt names the product."""
        return subject_of(self.placeholder_token, self.class_noun, self.method)


def weights_of(recipe: StudioRecipe) -> str:
    """Return the revision of the recipe's diffusion weights.

    They alone decide whether a concept fits; the fingerprint would also tell a trainer on a GPU from a renderer on a
    CPU, or one release of torch from the next.
    """
    return next((model.revision for model in recipe.models if model.role == "diffusion"), "")


def concept_name(sha256: str) -> str:
    """Return a concept's name below its prefix; by contents, so that two trainers never overwrite each other's."""
    return f"concept-{sha256[:16]}.safetensors"


async def current_concept(store: ObjectStore, product_id: str) -> CurrentConcept | None:
    """Return a product's current concept, None before its first."""
    content = await store.get(current_concept_key(product_id))
    return None if content is None else CurrentConcept.model_validate_json(content)


async def make_current(store: ObjectStore, concept: CurrentConcept) -> None:
    """Point to `concept` unless a later registration is pointed to already.

    Of registrations of the same moment the later in the topic counts: one product's are all in one partition.
    """
    present = await current_concept(store, concept.product_id)
    if present is not None:
        later = (present.occurred_at, present.offset) > (concept.occurred_at, concept.offset)
        if later or present.request_id == concept.request_id:
            return
    await store.put(current_concept_key(concept.product_id), concept.to_json(), "application/json")


async def pinned_concept(store: ObjectStore, prefix: str) -> CurrentConcept | None:
    """Return the concept that the request of `prefix` shows, None where none has been chosen yet."""
    content = await store.get(pinned_concept_key(prefix))
    return None if content is None else CurrentConcept.model_validate_json(content)


async def pin(store: ObjectStore, prefix: str, concept: CurrentConcept) -> CurrentConcept:
    """Choose the concept of a request: `concept`, or the one that another delivery was faster to choose.

    Every delivery writes the same keys, so all of them must show the same concept, whatever is current meanwhile.
    """
    if await store.put_if_absent(pinned_concept_key(prefix), concept.to_json(), "application/json"):
        return concept
    return await pinned_concept(store, prefix) or concept
