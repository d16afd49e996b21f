import json

from streams.cli.topic_reader import TopicMessage


def test_json_of_a_dead_letter_contains_the_whole_message():
    message = TopicMessage("t.dead", 2, 7, 0, None, b"\xff\x00", (("dead_code", b"invalid_event"),))
    assert json.loads(message.as_json(envelope=True)) == {
        "topic": "t.dead",
        "partition": 2,
        "offset": 7,
        "timestamp": 0,
        "time": "1970-01-01T00:00:00.000Z",
        "key": None,
        "headers": {"dead_code": "invalid_event"},
        "value": "base64:/wA=",
    }
