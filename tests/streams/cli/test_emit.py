import json
from pathlib import Path

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
COFFEE = EXAMPLES / "coffee-enthusiast.json"


def test_partitions_are_those_of_javas_partitioner(run):
    """The hashes come from Kafka's own test of murmur2 (UtilsTest.testMurmur2)."""
    hashes = {"21": -973932308, "foobar": -790332482, "abc": 479470107}
    event = json.loads(COFFEE.read_text())
    events = [{**event, "segment_id": name, "event_id": name} for name in hashes]
    sent = run("emit", "-", text=json.dumps(events))
    partitions = {line.split()[0]: int(line.split("[")[1].split("]")[0]) for line in sent.stdout.splitlines()}
    assert partitions == {name: (value & 0x7FFFFFFF) % 4 for name, value in hashes.items()}


def test_standard_input_with_segments_and_products(run, settings):
    events = [json.loads(path.read_text()) for path in sorted(EXAMPLES.glob("*.json"))]
    sent = run("emit", "-", text=json.dumps(events))
    assert sent.exit_code == 0, sent.output
    topics = [line.split()[1].split("[")[0] for line in sent.stdout.splitlines()]
    assert sorted(set(topics)) == sorted([settings.topics.segment_updated, settings.topics.product_registered])
    assert len(topics) == len(events)


def test_a_file_with_a_fault_is_not_sent(run, settings, tmp_path):
    file = tmp_path / "events.jsonl"
    good = json.dumps(json.loads(COFFEE.read_text()))
    file.write_text(f'{good}\n{{"segment_id": "x y"}}\n')
    refused = run("emit", file)
    assert refused.exit_code == 2
    assert f"{file}, line 2: " in refused.stderr
    assert "1 of 2 events are invalid. Nothing was sent." in refused.stderr
    assert refused.stdout == ""
    assert run("watch", settings.topics.segment_updated, "--from-beginning", "--timeout", 0.5).exit_code == 1

    partly = run("emit", file, "--keep-going")
    assert partly.exit_code == 1
    assert partly.stdout.count("segment-coffee") == 1


def test_dry_run_sends_nothing_and_needs_no_broker(run):
    checked = run("emit", COFFEE, "--dry-run", CREATIVES_KAFKA__BOOTSTRAP_SERVERS="embedded")
    assert checked.exit_code == 0
    assert "Valid events: 1. Nothing was sent." in checked.stderr


def test_all_faults_are_reported_with_their_line_before_a_broker_is_required(run):
    bad = {"segment_id": "x y", "event_id": "e", "name": "\u2615", "occurred_at": 7}
    refused = run("emit", "-", text="\n" + json.dumps(bad), CREATIVES_KAFKA__BOOTSTRAP_SERVERS="embedded")
    assert refused.exit_code == 2
    faults = refused.stderr.splitlines()[:-1]
    assert [line.split(": ")[1] for line in faults] == ["occurred_at", "segment_id", "name"]
    assert all(line.startswith("<stdin>, line 2: ") for line in faults)
    assert "name: must contain at least one letter" in faults[2]
    assert "broker" not in refused.stderr


def test_unknown_fields_are_reported_with_the_nearest_one(run):
    event = {**json.loads(COFFEE.read_text()), "keyword": 1}
    checked = run("emit", "-", "--dry-run", text=json.dumps(event))
    assert checked.exit_code == 0
    assert "line 1: unknown field, ignored: keyword (did you mean keywords?)" in checked.stderr


def test_unknown_fields_are_reported_beside_other_faults(run):
    event = {**json.loads(COFFEE.read_text()), "seed": -1, "brand": {"name": "B", "feature": []}}
    refused = run("emit", "-", "--dry-run", text=json.dumps(event))
    assert refused.exit_code == 2
    assert "seed: Input should be greater than or equal to 0" in refused.stderr
    assert "unknown field, ignored: brand.feature (did you mean brand.features?)" in refused.stderr


def test_strict_refuses_unknown_fields_before_anything_is_sent(run, settings):
    good = json.loads(COFFEE.read_text())
    lines = "\n".join(json.dumps(event) for event in (good, {**good, "imags": 1}))
    without_broker = {"CREATIVES_KAFKA__BOOTSTRAP_SERVERS": "embedded"}
    refused = run("emit", "-", "--strict", text=lines, **without_broker)
    assert refused.exit_code == 2
    assert "line 2: unknown field: imags (did you mean images?)" in refused.stderr
    assert "1 of 2 events are invalid. Nothing was sent." in refused.stderr
    assert run("emit", "-", "--strict", "--dry-run", text=json.dumps(good), **without_broker).exit_code == 0
    partly = run("emit", "-", "--strict", "--keep-going", text=lines)
    assert partly.exit_code == 1
    assert partly.stdout.count("segment-coffee") == 1


def test_dry_run_shows_the_prompts(run):
    events = [json.loads((EXAMPLES / f"{name}.json").read_text()) for name in ("breakfast-with-milk", "toast-with-jam")]
    milk = {**json.loads((EXAMPLES / "carton-of-milk.json").read_text()), "product_id": events[0]["product_id"]}
    text = json.dumps([*events, milk])
    checked = run("emit", "-", "--dry-run", text=text, CREATIVES_KAFKA__BOOTSTRAP_SERVERS="embedded")
    assert checked.exit_code == 0, checked.stderr
    first, second = (line for line in checked.stdout.splitlines() if not line.startswith(" "))
    assert first.startswith(f"{events[0]['event_id']}: an advertising photo of sks {milk['class_noun']} ")
    product = events[1]["product_id"]
    assert second.startswith(f"{events[1]['event_id']}: an advertising photo of <{product}> ")
    assert f"  <{product}> stands for the words of the registration of {product}" in checked.stdout
    assert "  negative prompt: blurry" in checked.stdout
    assert "  19 of 77 tokens" in checked.stdout


def test_a_topic_that_the_service_does_not_read_is_refused(run):
    refused = run("emit", COFFEE, "--topic", "orders")
    assert refused.exit_code == 2
    assert "does not read orders" in refused.stderr


def test_without_a_broker_the_error_explains_how_to_start_one(run):
    refused = run("emit", COFFEE, CREATIVES_KAFKA__BOOTSTRAP_SERVERS="embedded")
    assert refused.exit_code == 2
    assert "creatives services --env-file" in refused.stderr
