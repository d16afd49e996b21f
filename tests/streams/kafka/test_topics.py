import pytest

from streams.failures import BrokerUnavailable, CertificateUnusable, TopicsMissing, WrongPartitions
from streams.kafka import topics
from streams.settings import Settings, TopicSettings


def test_inputs_outputs_and_dead_letters_are_expected():
    names = [spec.name for spec in topics.expected_topics(Settings(topics=TopicSettings(dead_suffix=".dlq")))]
    assert names == [
        "segment-updated",
        "product-registered",
        "creative-ready",
        "product-ready",
        "creative-rejected",
        "segment-updated.dlq",
        "product-registered.dlq",
    ]


async def test_correct_topics_pass(settings):
    await topics.check(settings)
    assert {state.found for state in await topics.topic_states(settings)} == {4}


async def test_a_wrong_partition_count_is_refused_with_a_remedy(settings):
    other = settings.model_copy(update={"topics": settings.topics.model_copy(update={"partitions": 3})})
    with pytest.raises(WrongPartitions, match=r"has 4 partitions, not 3.*Set CREATIVES_TOPICS__PARTITIONS"):
        await topics.check(other)


async def test_an_unreachable_broker_is_one_error_with_cause_and_setting(caplog):
    nowhere = Settings(kafka={"bootstrap_servers": "127.0.0.1:1"})
    reason = (
        r"^The broker at 127\.0\.0\.1:1 does not answer: Connection refused\. Start it, or correct CREATIVES_KAFKA__B"
    )
    with pytest.raises(BrokerUnavailable, match=reason):
        await topics.check(nowhere)
    assert caplog.text == ""


async def test_an_invalid_certificate_is_a_named_error(tmp_path):
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    kafka = {"bootstrap_servers": "127.0.0.1:1", "security_protocol": "SSL", "ca_file": str(junk)}
    with pytest.raises(CertificateUnusable, match=r"CREATIVES_KAFKA__CA_FILE.* no certificate or crl found"):
        await topics.check(Settings(kafka=kafka))


def test_missing_topics_come_before_wrong_partitions():
    spec = topics.TopicSpec("t", 4, 1)
    missing, wrong, right = (topics.TopicState(spec, found) for found in (None, 3, 4))
    assert topics.topic_problem([right, right]) is None
    assert isinstance(topics.topic_problem([wrong, missing]), TopicsMissing)
    assert "--create` never changes an existing topic" in str(topics.topic_problem([right, wrong]))


def test_a_missing_topic_is_a_problem():
    spec = topics.TopicSpec("t", 4, 1)
    assert topics.TopicState(spec, None).problem == "topic t is missing"
    assert topics.TopicState(spec, 4).problem is None
