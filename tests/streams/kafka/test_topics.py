from types import SimpleNamespace

import pytest

from streams.failures import BrokerUnavailable, CertificateUnusable, TopicsForbidden, TopicsMissing
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


@pytest.mark.parametrize("setting", [3, 12])
async def test_another_number_of_partitions_is_a_warning(settings, setting, monkeypatch):
    warnings = []
    monkeypatch.setattr(topics, "log", SimpleNamespace(warning=lambda text, **fields: warnings.append((text, fields))))
    other = settings.model_copy(update={"topics": settings.topics.model_copy(update={"partitions": setting})})
    await topics.check(other)
    assert len(warnings) == len(topics.expected_topics(settings))
    text, fields = warnings[0]
    assert "apply at its creation only" in text
    assert fields == {"topic": settings.topics.segment_updated, "partitions": 4, "setting": setting}


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


def test_only_missing_and_forbidden_topics_are_an_error():
    spec = topics.TopicSpec("t", 4, 1)
    missing, more, right = (topics.TopicState(spec, found) for found in (None, 6, 4))
    assert topics.topic_problem([right, more]) is None
    error = topics.topic_problem([more, missing], "k:9092 answers, but ")
    assert isinstance(error, TopicsMissing)
    assert str(error).startswith("k:9092 answers, but topic t is missing. Run `creatives topics --create`")
    forbidden = topics.TopicState(spec, None, forbidden=True)
    error = topics.topic_problem([missing, forbidden])
    assert isinstance(error, TopicsForbidden)
    assert "topic t may not be described by this Kafka user. Give the user in CREATIVES_KAFKA__USERNAME" in str(error)


def test_a_difference_names_both_numbers():
    spec = topics.TopicSpec("t", 4, 1)
    assert topics.TopicState(spec, 6).difference == "6 partitions, CREATIVES_TOPICS__PARTITIONS is 4"
    assert topics.TopicState(spec, 4).difference is None
    assert topics.TopicState(spec, None).difference is None
