"""Every event that enters or leaves the service, as frozen pydantic models. Import them from here.

Events are JSON in UTF-8. The service ignores unknown fields, so an emitter may add fields before the service reads
them; `schema_version` grows only if a field changes its meaning. docs/events.md explains every field.
"""

from schemas.dead_letter import DeadLetter
from schemas.outcome_parts import Cost, Image, ModelUsed, Recipe, Source
from schemas.outcomes import CreativeReady, CreativeRejected, ProductReady
from schemas.product import ProductRegistered
from schemas.segment import SegmentUpdated
from schemas.segment_parts import Brand, Copy, Keyword, Phrase

__all__ = [
    "Brand",
    "Copy",
    "Cost",
    "CreativeReady",
    "CreativeRejected",
    "DeadLetter",
    "Image",
    "Keyword",
    "ModelUsed",
    "Phrase",
    "ProductReady",
    "ProductRegistered",
    "Recipe",
    "SegmentUpdated",
    "Source",
]
