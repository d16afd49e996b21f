import uuid

import pytest

from streams.embedded import EmbeddedServices
from streams.kafka.topics import expected_topics
from streams.settings import Settings, TopicSettings


@pytest.fixture(scope="session")
def embedded():
    """One broker and store for all tests of this folder; tests keep apart by the names of their topics."""
    with EmbeddedServices({}) as services:
        yield services


@pytest.fixture
def settings(embedded):
    """Settings that reach the embedded services, with topics of this test's own."""
    own = uuid.uuid4().hex[:8]
    names = ("segment_updated", "product_registered", "creative_ready", "product_ready", "creative_rejected")
    made = Settings(
        kafka={"bootstrap_servers": embedded.bootstrap_servers, "group": f"group-{own}"},
        storage={"endpoint": embedded.endpoint},
        topics=TopicSettings(**{name: f"{name.replace('_', '-')}-{own}" for name in names}),
        web={"port": 0, "gallery_port": 0},
    )
    for spec in expected_topics(made):
        embedded.broker.create_topic(spec.name, spec.partitions)
    return made
