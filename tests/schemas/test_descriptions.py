"""Every field of every event explains itself, in the JSON Schema as on the page."""

import pytest
from pydantic import BaseModel, TypeAdapter

from schemas import events

MODELS = [getattr(events, name) for name in events.__all__]
FIELDS = [(model, name) for model in MODELS for name in model.model_fields]


def in_words(case):
    return f"{case[0].__name__}.{case[1]}"


def models_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from models_in(part)


def test_every_part_of_an_event_is_exported():
    nested = {part for model in MODELS for field in model.model_fields.values() for part in models_in(field.annotation)}
    assert nested < set(MODELS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_has_a_description_of_its_own(model):
    assert model.__doc__.strip().endswith(".")
    assert model.__doc__ != BaseModel.__doc__


@pytest.mark.parametrize("case", FIELDS, ids=in_words)
def test_every_field_has_a_description(case):
    model, name = case
    description = model.model_fields[name].description
    assert description, f"{in_words(case)} has no description"
    assert description.endswith((".", "`.")), description


@pytest.mark.parametrize("case", FIELDS, ids=in_words)
def test_every_field_has_valid_examples_or_is_a_model_that_has_them(case):
    model, name = case
    field = model.model_fields[name]
    if not field.examples:
        assert list(models_in(field.annotation)), f"{in_words(case)} has no example"
    annotated = TypeAdapter(model.__pydantic_fields__[name].rebuild_annotation())
    for example in field.examples or ():
        annotated.validate_python(example)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_json_schema_carries_the_descriptions(model):
    properties = model.model_json_schema(by_alias=True).get("properties") or {}
    for field in properties.values():
        assert field["description"]
