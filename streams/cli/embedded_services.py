"""Start the embedded broker and object store, and give their addresses to other processes."""

from __future__ import annotations

import asyncio
import os
import shlex
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from streams.embedded import EmbeddedServices, signing_keys
from streams.kafka.topics import check, expected_topics
from streams.settings import Settings
from streams.store.s3 import MinioStore


def start_services(settings: Settings) -> tuple[EmbeddedServices, Settings]:
    """Start broker and store with topics and bucket. Return them and the settings that reach them, once both answer.

    Raises BrokerUnavailable, StoreUnavailable, StoreRefused, TopicsMissing.
    """
    services = EmbeddedServices(
        {spec.name: spec.partitions for spec in expected_topics(settings)}, settings.storage.bucket
    )
    kafka = settings.kafka.model_copy(
        update={
            "bootstrap_servers": services.bootstrap_servers,
            "embedded": True,
            "security_protocol": "PLAINTEXT",
            "password": None,
        }
    )
    own = {"endpoint": services.endpoint, "ca_file": None, "signing_keys": signing_keys(settings.storage)}
    storage = settings.storage.model_copy(update=own)
    reachable = settings.model_copy(update={"kafka": kafka, "storage": storage})
    with ExitStack() as on_failure:
        on_failure.callback(services.stop)
        asyncio.run(_check_both(reachable))
        on_failure.pop_all()
    return services, reachable


async def _check_both(settings: Settings) -> None:
    await check(settings)
    store = MinioStore(settings.storage)
    try:
        await store.check()
    finally:
        store.close()


def connection_variables(settings: Settings) -> dict[str, str]:
    """Return the environment variables with which another process reaches the same broker and store."""
    storage = settings.storage
    keys = storage.signing_keys
    signing = {} if keys is None else {"CREATIVES_STORAGE__SIGNING_KEYS": keys.get_secret_value()}
    return signing | {
        "CREATIVES_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "CREATIVES_KAFKA__EMBEDDED": str(settings.kafka.embedded).lower(),
        "CREATIVES_STORAGE__ENDPOINT": storage.endpoint,
        "CREATIVES_STORAGE__ACCESS_KEY": storage.access_key.get_secret_value(),
        "CREATIVES_STORAGE__SECRET_KEY": storage.secret_key.get_secret_value(),
        "CREATIVES_STORAGE__BUCKET": storage.bucket,
    }


def write_env_file(path: Path, variables: Mapping[str, str]) -> None:
    """Write `NAME=value` lines to a file that only the owner can read. The file appears complete or not at all.

    Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{variable}={shlex.quote(value)}\n" for variable, value in variables.items())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)  # exists only if writing or renaming failed
