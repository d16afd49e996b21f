import pytest
from faust.assignor.partition_assignor import PartitionAssignor

from streams.app import EmbeddedBrokerAssignor, create_app, faust_options
from streams.runtime import group_id
from streams.settings import Settings


def made(**settings):
    return Settings(
        kafka={"bootstrap_servers": "one:9092,two:9092"}, storage={"endpoint": "http://store:9000"}, **settings
    )


def test_faust_options_neither_lose_events_nor_stall():
    options = faust_options(made())
    assert options["consumer_metadata_max_age_ms"] == 10_000
    assert options["stream_wait_empty"] is False
    assert options["broker_max_poll_interval"] >= 86_400
    assert options["processing_guarantee"] == "at_least_once"
    assert options["consumer_auto_offset_reset"] == "earliest"
    assert options["topic_allow_declare"] is False
    assert options["broker_request_timeout"] >= options["broker_session_timeout"]
    assert [url.host for url in options["broker"]] == ["one", "two"]


@pytest.mark.parametrize(("embedded", "assignor"), [(False, PartitionAssignor), (True, EmbeddedBrokerAssignor)])
def test_only_the_embedded_broker_delays_a_rebalance(embedded, assignor):
    settings = Settings(kafka={"bootstrap_servers": "one:9092", "embedded": embedded})
    assert faust_options(settings)["PartitionAssignor"] is assignor


@pytest.mark.parametrize(
    ("role", "topics"),
    [
        ("render", {"segment-updated"}),
        ("train", {"product-registered"}),
        ("all", {"segment-updated", "product-registered"}),
    ],
)
def test_each_role_consumes_its_own_topics_in_its_own_group(role, topics):
    app = create_app(made(role=role))
    assert {topic for agent in app.agents.values() for topic in agent.channel.topics} == topics
    assert app.conf.id == group_id(made(role=role)) == ("creatives" if role == "all" else f"creatives-{role}")


def test_the_password_reaches_faust_and_appears_nowhere_else():
    secured = Settings(
        kafka={
            "bootstrap_servers": "broker:9093",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "username": "service",
            "password": "hunter2",
        }
    )
    credentials = faust_options(secured)["broker_credentials"]
    assert (credentials.username, credentials.password) == ("service", "hunter2")
    assert "hunter2" not in repr(secured)
    assert "hunter2" not in repr(credentials)


async def test_without_services_the_worker_names_the_settings_to_set(caplog):
    app = create_app(Settings())
    with pytest.raises(SystemExit) as end:
        await app.on_start()
    assert end.value.code == 1
