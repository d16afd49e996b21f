"""The demo with a real worker process. Only the device process is a fake."""

import hashlib
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from streams.cli.contact_sheet import contact_sheet
from streams.cli.demo import output_folder, worker_process
from streams.cli.main import cli
from streams.cli.progress import STAGE_LABELS

ROOT = Path(__file__).parents[4]
FAKE = (sys.executable, "-m", "tests.faults.worker")


@pytest.fixture
def demo(monkeypatch, tmp_path):
    """Run `creatives demo` with `worker` as the command of its worker process."""

    def run(*arguments, worker=FAKE, **env):
        monkeypatch.setattr(worker_process, "WORKER_COMMAND", worker)
        for name in [name for name in os.environ if name.startswith("CREATIVES_")]:
            monkeypatch.delenv(name)
        arguments = ["--debug", "demo", "--out", str(tmp_path / "out"), "--timeout", "60", *map(str, arguments)]
        return CliRunner().invoke(cli, arguments, env={"CREATIVES_KAFKA__SESSION_TIMEOUT": "10", **env})

    return run


def test_three_segments_in_pictures_out(demo, tmp_path):
    out = tmp_path / "out"
    (out / "pictures").mkdir(parents=True)
    (out / "pictures" / "left-over.png").write_bytes(b"of an earlier demo")
    (out / "mine.txt").write_text("stays")
    done = demo()
    assert done.exit_code == 0, done.output
    assert "6 pictures of 3 segments in " in done.stdout
    stages = ("load", "generate", "rerank", "upscale", "encode")
    assert all(STAGE_LABELS[stage] in done.stderr for stage in stages), "every stage, however short"
    assert sorted(path.name for path in out.iterdir()) == [
        "contact-sheet.png",
        "events.jsonl",
        "index.html",
        "mine.txt",
        "pictures",
        "worker.log",
    ]
    schema = json.loads((ROOT / "docs" / "schemas" / "creative-ready.json").read_text())
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert [event["segment_id"] for event in events] == ["coffee-enthusiast", "cooking-enthusiast", "healthy-vegan"]
    pictures = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / "pictures").iterdir()}
    for event in events:
        jsonschema.validate(event, schema)
        assert {image["sha256"] for image in event["images"]} <= pictures
        assert not any(image["url"] in done.stdout for image in event["images"]), "links that die with the demo"
    page = (out / "index.html").read_text()
    shown = re.findall(r'<img src="([^"]+)"', page)
    assert len(shown) == 6
    assert all((out / name).is_file() and str(out / name) in done.stdout for name in shown)
    assert not re.findall(r'(?:src|href)="https?:', page), "the page must work from file:// with no network"


def test_products_are_trained_with_both_methods_and_shown_side_by_side(demo, tmp_path, monkeypatch):
    out = tmp_path / "out"
    strips = []

    def sheet(title, subtitle, shown):
        strips.extend(shown)
        return contact_sheet(title, subtitle, shown)

    monkeypatch.setattr(output_folder, "contact_sheet", sheet)
    workdir = tmp_path / "training"
    done = demo("--products", CREATIVES_TRAINING__WORKDIR=str(workdir))
    assert done.exit_code == 0, done.output
    assert "18 pictures of 9 segments in " in done.stdout
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    products = {event["product_id"]: event for event in events if "placeholder_token" in event}
    creatives = {event["product_id"]: event for event in events if "segment_id" in event and event.get("product_id")}
    assert sorted(products) == sorted(creatives)
    assert [products[name]["method"] for name in sorted(products)] == ["dreambooth", "textual_inversion"] * 2
    for name, ready in products.items():
        assert ready["placeholder_token"] in creatives[name]["prompt"]
    page = (out / "index.html").read_text()
    assert "Trained with Textual Inversion: 2 steps" in page
    shown = re.findall(r'<img src="([^"]+)"', page)
    assert len(shown) == 18 + 4
    compared = page.split('<section class="compared">')[1:]
    headings = ["Before", "Textual Inversion", "DreamBooth"]
    for section, class_noun in zip(compared, ("carton of milk", "jar of jam"), strict=True):
        before, inversion, dreambooth = section.split('<div class="column">')[1:]
        assert re.findall("<h3>(.+)</h3>", section) == headings
        assert f"an advertising photo of a {class_noun}" in before
        assert [len(re.findall("<img", column)) for column in (before, inversion, dreambooth)] == [2, 3, 3]
        assert all("-before-" in name for name in re.findall(r'<img src="([^"]+)"', before))
    assert [len(strip.frames) for strip in strips] == [2, 2, 2, 6, 6]
    assert all([frame.label for frame in strip.frames] == headings * 2 for strip in strips[3:])
    seeds = {event["segment_id"]: [i["seed"] for i in event["images"]] for event in events if "segment_id" in event}
    of_milk = [seeds[name] for name in seeds if name.startswith("breakfast-lovers")]
    assert len(of_milk) == 3
    assert of_milk[0] == of_milk[1] == of_milk[2]
    assert all((out / name).is_file() and str(out / name) in done.stdout for name in shown)
    assert "0.250" in done.stdout
    assert "CLIP-I 0.500, before 0.250" in page


def test_the_log_of_a_worker_that_exits_is_shown(demo):
    program = "import sys; print('torch is broken', file=sys.stderr); sys.exit(3)"
    failed = demo(worker=(sys.executable, "-c", program))
    assert failed.exit_code == 1
    assert "The worker exited with code 3." in failed.stderr
    assert "torch is broken" in failed.stderr
    assert "creatives doctor" in failed.stderr


def test_a_dead_lettered_event_ends_the_demo(demo, tmp_path):
    example = json.loads((ROOT / "docs" / "examples" / "coffee-enthusiast.json").read_text())
    event = {name: example[name] for name in ("event_id", "occurred_at", "segment_id")} | {"name": "raising"}
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(event))
    failed = demo(file, CREATIVES_DELIVERY__ATTEMPTS="1")
    assert failed.exit_code == 1
    assert f"The event {event['event_id']} failed: The " in failed.stderr


def test_the_demo_times_out(demo):
    failed = demo("--timeout", "1")
    assert failed.exit_code == 1
    assert "The demo timed out after 1 s." in failed.stderr


def test_bad_files_are_refused_before_anything_starts(demo, tmp_path):
    file = tmp_path / "bad.jsonl"
    coffee = json.dumps(json.loads((ROOT / "docs" / "examples" / "coffee-enthusiast.json").read_text()))
    for content, message in (
        (f"{coffee}\n{{}}", "bad.jsonl, line 2: "),
        (f"{coffee}\n{coffee}", "1 event repeats the event_id of another"),
    ):
        file.write_text(content)
        refused = demo(file, worker=("/no/such/program",))
        assert refused.exit_code == 2
        assert message in refused.stderr


def test_serving_lasts_until_ctrl_c(demo, tmp_path):
    def interrupt():
        deadline = time.monotonic() + 60
        while not (tmp_path / "out" / "index.html").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    served = demo("--serve")
    assert served.exit_code == 0, served.output
    assert "gallery http://127.0.0.1:" in served.stderr
