"""The base model of the settings groups, and the types that check an address, a name or a file.

An invalid value fails at startup, with the name of its variable.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr

EMBEDDED = "embedded"
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s,:/\[\]]+):(?P<port>\d{1,5})")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SIGNING_KEY = re.compile(r"[!-+\--~]{32,}")  # printable ASCII without the comma


class Group(BaseModel):
    """A group of settings: the middle part of the names of its variables."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def check_servers(text: str) -> str:
    """Return a broker list. Raises ValueError unless it is `embedded` or `host:port`, several separated by commas."""
    servers = [] if text == EMBEDDED else text.split(",")
    if all((match := _SERVER.fullmatch(server.strip())) and 0 < int(match["port"]) < 2**16 for server in servers):
        return text
    raise ValueError("must be host:port, several separated by commas, without a scheme: kafka-1:9092,kafka-2:9092")


def check_endpoint(text: str) -> str:
    """Return a store's address. Raises ValueError unless it is `embedded` or an http(s) URL without path and query."""
    address = urlsplit(text)
    plain = address.scheme in {"http", "https"} and address.netloc and not address.path.strip("/")
    if text != EMBEDDED and (not plain or address.username or address.query):
        raise ValueError("must be http://host:port or https://host:port, without a path, a query or a user")
    return text


def check_bucket(text: str) -> str:
    """Return a bucket name. Raises ValueError if S3 would not accept it."""
    odd = any(pair in text for pair in ("..", ".-", "-."))
    if not _BUCKET.fullmatch(text) or odd or _IPV4.fullmatch(text):
        raise ValueError("must be 3 to 63 lower-case letters, digits, dots and hyphens: an S3 bucket name")
    return text


def check_topic(text: str) -> str:
    """Return a topic name. Raises ValueError if Kafka would not accept it."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("must be 1 to 249 letters, digits, dots, hyphens and underscores: a Kafka topic name")
    return text


def check_variables(text: str) -> str:
    """Return patterns of variable names. Raises ValueError for anything else."""
    patterns = split_patterns(text)
    if not all(_VARIABLE.fullmatch(pattern) for pattern in patterns):
        raise ValueError("must be names of environment variables, with * for any letters, separated by commas")
    return text


def split_patterns(text: str) -> tuple[str, ...]:
    """Return the parts of a list that is separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def check_file(text: str) -> str:
    """Return a file's path. Raises ValueError if the file cannot be read."""
    try:
        with Path(text).open("rb"):
            return text
    except OSError as error:
        raise ValueError(f"the file {text!r} cannot be read: {error.strerror}") from None


def check_signing_keys(keys: SecretStr) -> SecretStr:
    """Return the signing keys. Raises ValueError unless each has 32 characters or more, all printable ASCII."""
    if not all(_SIGNING_KEY.fullmatch(key.strip()) for key in keys.get_secret_value().split(",")):
        raise ValueError("must be random text of 32 characters or more, such as `openssl rand -hex 32` prints")
    return keys


Servers = Annotated[str, AfterValidator(check_servers)]
Endpoint = Annotated[str, AfterValidator(check_endpoint)]
Bucket = Annotated[str, AfterValidator(check_bucket)]
VariablePatterns = Annotated[str, AfterValidator(check_variables)]
TopicName = Annotated[str, AfterValidator(check_topic)]
PemFile = Annotated[str, AfterValidator(check_file)]
SigningKeys = Annotated[SecretStr, AfterValidator(check_signing_keys)]
