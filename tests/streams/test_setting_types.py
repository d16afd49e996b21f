"""Settings that name an address, a bucket, a topic or a file: which values are accepted."""

import pytest
from pydantic import SecretStr

from streams import setting_types


@pytest.mark.parametrize(
    "text", ["embedded", "k:9092", "k-1.x.org:9092, k-2:9092", "10.0.0.1:1", "[::1]:9092", "k:65535"]
)
def test_brokers(text):
    assert setting_types.check_servers(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "kafka",
        "[::1]",
        "a:1,kafka",
        "embedded,a:1",
        "a:0",
        "a:65536",
        "",
        " ",
        "a:1,",
        "http://a:1",
        "a b:1",
        "a:port",
        "a:1;b:2",
        "[::1:9092",
    ],
)
def test_no_brokers(text):
    with pytest.raises(ValueError, match="host:port"):
        setting_types.check_servers(text)


@pytest.mark.parametrize("text", ["embedded", "http://minio:9000", "https://s3.example.org/", "http://[::1]:9000"])
def test_stores(text):
    assert setting_types.check_endpoint(text) == text


@pytest.mark.parametrize(
    "text", ["", "minio:9000", "ftp://x", "http://", "http://x/path", "http://u:pw@x", "http://x?a=b"]
)
def test_no_stores(text):
    with pytest.raises(ValueError, match="http://host:port") as caught:
        setting_types.check_endpoint(text)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("text", ["k" * 32, "0f" * 32, f"{'a' * 32}, {'b' * 40}", "+/=" * 12])
def test_signing_keys(text):
    assert setting_types.check_signing_keys(SecretStr(text)).get_secret_value() == text


@pytest.mark.parametrize("text", ["", "k" * 31, "k" * 32 + ",", ",", f"{'a' * 32},short", "two words " * 8, "ę" * 32])
def test_no_signing_keys(text):
    with pytest.raises(ValueError, match="32 characters or more") as caught:
        setting_types.check_signing_keys(SecretStr(text))
    assert not text.strip(", ") or text not in str(caught.value)


@pytest.mark.parametrize("text", ["abc", "creatives-2026.eu", "0-0", "a" * 63])
def test_buckets(text):
    assert setting_types.check_bucket(text) == text


@pytest.mark.parametrize(
    "text", ["zz", "Creatives", "a_b_c", "-abc", "abc.", "a..b", "a.-b", "a" * 64, "10.0.0.1", "a/b"]
)
def test_no_buckets(text):
    with pytest.raises(ValueError, match="3 to 63"):
        setting_types.check_bucket(text)


@pytest.mark.parametrize("text", ["", "ROCM_PATH", "MY_*, A1 ,_b"])
def test_variables(text):
    assert setting_types.check_variables(text) == text


@pytest.mark.parametrize("text", ["A=b", "A B", "*", "A*B", "1A"])
def test_no_variables(text):
    with pytest.raises(ValueError, match="names of environment variables"):
        setting_types.check_variables(text)
