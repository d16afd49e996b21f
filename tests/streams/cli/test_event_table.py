import json

from streams.cli.event_table import event_row, topic_kind
from streams.cli.topic_reader import TopicMessage
from streams.settings import TopicSettings


def message(value, key=b"k", headers=()):
    return TopicMessage("creative-ready", 2, 7, 0, key, value, tuple(headers))


def test_rows_of_every_topic():
    topics = TopicSettings()
    ready = {"segment_id": "s", "prompt": "p", "images": [{"url": "https://u/1.png", "scores": {"clip": 0.25}}]}
    cells = {
        "segment-updated": event_row("segment_updated", message(b'{"segment_id":"s","name":"n","event_id":"e"}')),
        "product-registered": event_row("product_registered", message(b'{"product_id":"p","images":[1,2,3]}')),
        "creative-ready": event_row("creative_ready", message(json.dumps(ready).encode())),
        "product-ready": event_row("product_ready", message(b'{"product_id":"p","steps":5}')),
        "creative-rejected": event_row("creative_rejected", message(b'{"product_id":"p","code":"c","reason":"r"}')),
        "x.dead": event_row(
            "dead", message(b"{}", headers=[("dead_topic", b"x"), ("dead_partition", b"1"), ("dead_code", b"c")])
        ),
        "other": event_row("other", message(b"\xffx")),
    }
    assert cells["segment-updated"][1:] == ("s", "n", "e")
    assert cells["product-registered"][1:] == ("p", "", "", "3", "")
    assert cells["creative-ready"][1:] == ("s", "p", "1", "0.250", "https://u/1.png")
    assert cells["product-ready"][1:] == ("p", "", "5", "", "")
    assert cells["creative-rejected"][1:] == ("p", "c", "r")
    assert cells["x.dead"][1:] == ("x[1]@?", "c", "")
    assert cells["other"][1:] == ("k", "�x")
    assert event_row("creative_ready", message(b"no json"))[1:] == ("k", "no json", "", "", "")
    assert event_row("product_registered", message(b'{"images":7}'))[1:] == ("k", '{"images":7}', "", "", "")
    assert event_row("product_ready", message(b'{"images":["x"]}'))[1:] == ("k", "", "", '{"images":["x"]}', "")
    assert event_row("creative_ready", message(b'{"images":[{"url":"javascript:x"}]}'))[-1] == ""
    kinds = [topic_kind(topic, topics) for topic in cells]
    assert kinds == [
        "segment_updated",
        "product_registered",
        "creative_ready",
        "product_ready",
        "creative_rejected",
        "dead",
        "other",
    ]
