import pytest
from click.testing import CliRunner

from streams.cli.main import cli


@pytest.fixture
def run(settings):
    """Run a command against the embedded services, with topics of this test's own."""
    topics = settings.topics.model_dump()
    env = {f"CREATIVES_TOPICS__{name.upper()}": str(value) for name, value in topics.items()}
    env["CREATIVES_KAFKA__BOOTSTRAP_SERVERS"] = settings.kafka.bootstrap_servers

    def invoke(*arguments, text=None, **more):
        return CliRunner().invoke(cli, ["--debug", *map(str, arguments)], input=text, env={**env, **more})

    return invoke
