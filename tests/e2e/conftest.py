"""Fixtures that run the same tests on the embedded services (plain suite) and on real ones (marker `services`)."""

import os
import uuid
from dataclasses import dataclass, field

import pytest

from streams.embedded import EmbeddedServices
from streams.kafka.topics import expected_topics
from tests.faults.invariants import InvariantChecker
from tests.faults.testbed import Testbed

ADDRESSES = ("CREATIVES_KAFKA__BOOTSTRAP_SERVERS", "CREATIVES_STORAGE__ENDPOINT")


@dataclass(frozen=True)
class Addresses:
    """The addresses of the services, and further settings as environment variables."""

    bootstrap_servers: str
    endpoint: str
    more: dict[str, str] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        return dict(zip(ADDRESSES, (self.bootstrap_servers, self.endpoint), strict=True)) | self.more


@pytest.fixture(scope="session")
def embedded_services():
    with EmbeddedServices({}) as services:
        yield services


@pytest.fixture(scope="session")
def real_services():
    missing = [name for name in ADDRESSES if os.environ.get(name, "embedded") == "embedded"]
    if missing:
        pytest.fail(f"no real services: {', '.join(missing)} not set. Start them: scripts/services up --env-file FILE")
    more = {
        name: value for name, value in os.environ.items() if name.startswith("CREATIVES_") and name not in ADDRESSES
    }
    return Addresses(*(os.environ[name] for name in ADDRESSES), more)


def unique_name() -> str:
    return f"e2e-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def make_real(real_services, tmp_path):
    """Return a function that makes testbeds on the real services."""
    return lambda **named: Testbed(real_services, unique_name(), tmp_path, **named)


@pytest.fixture
def make_embedded(embedded_services, tmp_path):
    """Return a function that makes testbeds on the embedded services."""
    addresses = Addresses(embedded_services.bootstrap_servers, embedded_services.endpoint)

    async def make_topics(settings):
        for spec in expected_topics(settings):
            embedded_services.broker.create_topic(spec.name, spec.partitions)

    return lambda **named: Testbed(addresses, unique_name(), tmp_path, make_topics=make_topics, **named)


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.services)])
def make_testbed(request):
    """Return a function that makes testbeds, on the embedded and then on the real services."""
    return request.getfixturevalue(f"make_{request.param}")


@pytest.fixture
async def testbed(make_testbed):
    async with make_testbed() as testbed:
        yield testbed


@pytest.fixture
async def checker(testbed):
    async with InvariantChecker(testbed) as checker:
        yield checker
