"""docs/schemas, docs/asyncapi.yaml, docs/events.md and docs/settings.md match the models."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from schemas import events
from streams.kafka.topics import expected_topics
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.json"))
PUBLISHED = {
    "creative-ready": events.CreativeReady,
    "product-ready": events.ProductReady,
    "creative-rejected": events.CreativeRejected,
}


def schema(name):
    found = json.loads((ROOT / "docs" / "schemas" / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found, format_checker=jsonschema.FormatChecker())


@pytest.fixture(scope="module")
def asyncapi():
    return yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())


def test_generated_files_are_current():
    command = [sys.executable, "scripts/contracts", "--check"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid_by_model_and_by_schema(path):
    event = json.loads(path.read_text())
    model, name = (
        (events.SegmentUpdated, "segment-updated")
        if "segment_id" in event
        else (events.ProductRegistered, "product-registered")
    )
    model.model_validate(event)
    schema(name).validate(event)


@pytest.mark.parametrize("name", PUBLISHED)
def test_examples_of_outcomes_are_whole_messages_of_the_service(name):
    fields = json.loads((ROOT / "docs" / "schemas" / "examples" / f"{name}.json").read_text())
    schema(name).validate(fields)
    message = PUBLISHED[name].model_validate(fields).to_json()
    assert message.decode() == json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def test_the_example_of_a_dead_letter_has_the_documented_headers(asyncapi):
    letter = json.loads((ROOT / "docs" / "schemas" / "examples" / "dead-letter.json").read_text())
    documented = asyncapi["components"]["messages"]["segment-updated.dead"]["headers"]
    jsonschema.validate(letter["headers"], documented)
    assert set(letter["headers"]) <= set(documented["properties"])


def test_the_schema_refuses_what_the_model_refuses():
    segment = json.loads((ROOT / "docs" / "examples" / "coffee-enthusiast.json").read_text())
    for change in ({"segment_id": "a/b"}, {"keywords": [{"term": ""}]}, {"formats": []}, {"name": None}):
        with pytest.raises(jsonschema.ValidationError):
            schema("segment-updated").validate({**segment, **change})


def test_what_we_publish_fits_its_schema_without_absent_fields():
    rejected = events.CreativeRejected(
        request_id="r",
        event_id="e",
        segment_id="s",
        code="nothing_passed",
        reason="no",
        source=events.Source(topic="t", partition=0, offset=0),
        created_at="2026-11-23T10:00:00Z",
    )
    published = json.loads(rejected.to_json())
    assert "product_id" not in published
    schema("creative-rejected").validate(published)


def test_every_topic_is_a_channel_with_a_message_and_an_operation(asyncapi):
    names = {spec.name for spec in expected_topics(Settings())}
    assert set(asyncapi["channels"]) == names == set(asyncapi["components"]["messages"])
    assert {operation["channel"]["$ref"].rpartition("/")[2] for operation in asyncapi["operations"].values()} == names


def test_the_headers_we_publish_are_the_headers_we_document(asyncapi):
    from streams.store.manifests import cloud_headers

    rejected = events.CreativeRejected(
        request_id="r",
        event_id="e",
        code="nothing_passed",
        reason="no",
        source=events.Source(topic="t", partition=0, offset=0),
        created_at="2026-11-23T10:00:00Z",
    )
    published = dict(cloud_headers("creative_rejected", "key", rejected, ()))
    documented = asyncapi["components"]["messages"]["creative-rejected"]["headers"]
    jsonschema.validate(published, documented)
    assert set(published) == set(documented["properties"])


def references(node):
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from references(part)


def test_every_reference_leads_somewhere(asyncapi):
    found = list(references(asyncapi))
    assert len(found) > 20
    for reference in found:
        if reference.startswith("#/"):
            node = asyncapi
            for part in reference[2:].split("/"):
                node = node[part]
        else:
            assert (ROOT / "docs" / reference).is_file(), reference


def test_every_setting_is_documented():
    text = (ROOT / "docs" / "settings.md").read_text()

    def variables(fields, prefix=""):
        for name, field in fields.items():
            inner = getattr(field.annotation, "model_fields", None)
            yield from variables(inner, f"{prefix}{name}__") if inner else [f"{prefix}{name}"]

    found = list(variables(Settings.model_fields))
    assert "training__dreambooth_lora__rank" in found
    for variable in found:
        assert f"`CREATIVES_{variable.upper()}`" in text
    assert "creatives-secret" not in text


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs" / "events.md").read_text()


def test_the_event_to_copy_from_the_page_is_valid(page):
    [text] = re.findall(r"echo '(.+?)'", page, re.DOTALL)
    events.SegmentUpdated.model_validate_json(text)


@pytest.mark.parametrize(
    "name", ["keywords[].weight", "copy.headline", "images", "url_expires_at", "sha256", "dead_code"]
)
def test_the_page_has_a_row_for_a_field(page, name):
    assert f"| `{name}` |" in page


def test_every_link_of_the_page_leads_somewhere(page):
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in page.splitlines()
        if line[:1] == "#"
    }
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) > 20
    for link in links:
        assert link[1:] in headings if link[0] == "#" else (ROOT / "docs" / link).exists(), link


def test_the_defaults_on_the_page_are_those_of_the_settings(page):
    settings = Settings()
    defaults = {
        "MAX_EVENT_BYTES": (settings.delivery.max_event_bytes, 256 * 1024),
        "ATTEMPTS": (settings.delivery.attempts, 4),
        "MAX_CRASHES": (settings.device.max_crashes, 3),
        "CANDIDATES": (settings.studio.candidates, 8),
        "IMAGES": (settings.studio.images, 2),
        "PHOTO_TIMEOUT": (settings.training.photo_timeout, 600),
        "MAX_PHOTO_BYTES": (settings.training.max_photo_bytes, 20 * 2**20),
        "URL_EXPIRY": (settings.storage.url_expiry, 7 * 86400),
    }
    for name, (value, documented) in defaults.items():
        assert f"__{name}`" in page
        assert value == documented, name
