import pytest

from streams import topics
from streams.failures import BrokerUnavailable, TopicsMissing
from streams.settings import Settings, TopicSettings


def test_inputs_outputs_and_dead_letters_are_expected():
    names = [spec.name for spec in topics.expected(Settings(topics=TopicSettings(dead_suffix=".dlq")))]
    assert names == [
        "segment-updated",
        "product-registered",
        "creative-ready",
        "product-ready",
        "creative-rejected",
        "segment-updated.dlq",
        "product-registered.dlq",
    ]


async def test_topics_that_are_right_pass(settings):
    await topics.check(settings)
    assert {state.found for state in await topics.states(settings)} == {4}


async def test_a_wrong_partition_count_is_refused_with_the_command_that_mends_it(settings):
    other = settings.model_copy(update={"topics": settings.topics.model_copy(update={"partitions": 3})})
    with pytest.raises(TopicsMissing, match=r"has 4 partitions, not 3.*creatives topics --create"):
        await topics.check(other)


async def test_a_broker_that_is_not_there_is_named():
    nowhere = Settings(kafka={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        await topics.check(nowhere)


def test_a_missing_topic_is_a_problem():
    spec = topics.TopicSpec("t", 4, 1)
    assert topics.TopicState(spec, None).problem == "topic t is missing"
    assert topics.TopicState(spec, 4).problem is None
