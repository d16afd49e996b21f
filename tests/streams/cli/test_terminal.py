import pytest
from click.testing import CliRunner

from streams.cli.main import cli


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"CREATIVES_KAFKA__BOOTSTRAP_SERVER": "x"}, "CREATIVES_KAFKA__BOOTSTRAP_SERVER: there is no such setting"),
        ({"CREATIVES_WEB__PORT": "high"}, "CREATIVES_WEB__PORT: "),
        ({"CREATIVES_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"}, "CREATIVES_KAFKA: SASL needs SASL_MECHANISM"),
        ({"CREATIVES_KAFKA__BOOTSTRAP_SERVERS": ""}, "CREATIVES_KAFKA__BOOTSTRAP_SERVERS: must be host:port"),
        (
            {"CREATIVES_KAFKA__CA_FILE": "/nope.pem"},
            "CREATIVES_KAFKA__CA_FILE: the file '/nope.pem' cannot be read: No",
        ),
        ({"CREATIVES_STORAGE__CA_FILE": "/"}, "CREATIVES_STORAGE__CA_FILE: the file '/' cannot be read: Is a dir"),
        ({"CREATIVES_STORAGE__BUCKET": "zz"}, "CREATIVES_STORAGE__BUCKET: must be 3 to 63 lower-case letters"),
        ({"CREATIVES_STORAGE__ENDPOINT": "minio:9000"}, "CREATIVES_STORAGE__ENDPOINT: must be http://host:port"),
        ({"CREATIVES_TOPICS__CREATIVE_READY": "a/b"}, "CREATIVES_TOPICS__CREATIVE_READY: must be 1 to 249 letters"),
        ({"CREATIVES_TOPICS__CREATIVE_READY": "segment-updated"}, "CREATIVES_TOPICS: two topics have the same name"),
        ({"CREATIVES_TRAINING__ALLOWED_HOSTS": "example.org"}, "CREATIVES_TRAINING__*: a list"),
    ],
)
def test_wrong_settings_are_named_without_their_values(variables, message):
    secret = {"CREATIVES_STORAGE__SECRET_KEY": "hunter2", "CREATIVES_KAFKA__PASSWORD": "hunter2"}
    result = CliRunner().invoke(cli, ["topics"], env={**secret, **variables})
    assert result.exit_code == 2
    assert message in result.output
    assert "hunter2" not in result.output
    assert "Traceback" not in result.output
