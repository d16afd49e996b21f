"""Rules for settings that name a place: where one is broken, it is said at the start and with the variable's name."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

EMBEDDED = "embedded"
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s,:/\[\]]+)(:\d{1,5})?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NUMBERS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def servers(text: str) -> str:
    """Return a broker list. Raises ValueError unless it is `embedded` or `host:port`, several apart by commas."""
    if not all(_SERVER.fullmatch(server.strip()) for server in text.split(",")):
        raise ValueError("must be host:port, several separated by commas, without a scheme: kafka-1:9092,kafka-2:9092")
    return text


def endpoint(text: str) -> str:
    """Return a store's address. Raises ValueError unless it is `embedded` or a plain http(s) URL without a path."""
    address = urlsplit(text)
    plain = address.scheme in {"http", "https"} and address.netloc and not address.path.strip("/")
    if text != EMBEDDED and (not plain or address.username or address.query):
        raise ValueError("must be http://host:port or https://host:port, with nothing behind it")
    return text


def bucket(text: str) -> str:
    """Return a bucket's name. Raises ValueError where S3 would not take it."""
    odd = any(pair in text for pair in ("..", ".-", "-."))
    if not _BUCKET.fullmatch(text) or odd or _NUMBERS.fullmatch(text):
        raise ValueError("must be 3 to 63 lower-case letters, digits, dots and hyphens, as S3 has it")
    return text


def topic(text: str) -> str:
    """Return a topic's name. Raises ValueError where Kafka would not take it."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("must be 1 to 249 letters, digits, dots, hyphens and underscores, as Kafka has it")
    return text


def file(text: str) -> str:
    """Return a file's path. Raises ValueError where nothing can be read there."""
    try:
        with Path(text).open("rb"):
            return text
    except OSError as error:
        raise ValueError(f"the file {text!r} cannot be read: {error.strerror}") from None
