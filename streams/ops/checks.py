"""What `creatives doctor` looks at: each check returns what works, or raises what does not."""

from __future__ import annotations

import asyncio
import os
import platform
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from models.briefs import DeviceSeen
from models.errors import CreativesError, DeviceUnavailable
from streams.device.client import DeviceClient
from streams.device.process import DeviceProcess, ProcessEnded
from streams.embedded import Embedded
from streams.failures import StoreRefused
from streams.kafka import topics
from streams.settings import Settings
from streams.store.keys import PARKED
from streams.store.s3 import MinioStore

_NAMED = 5
DEVICE_ENTRY = "models.devices:look"  # what the child runs
PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch", "faust-streaming", "aiokafka", "minio", "pydantic")


@dataclass(frozen=True)
class Finding:
    """One check's end. works: lines of what was found, or of what is wrong and what to do."""

    name: str
    works: bool
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """One thing to look at."""

    name: str
    look: Callable[[Settings], Awaitable[tuple[str, ...]]]


async def examine(check: Check, settings: Settings) -> Finding:
    """Run a check; a named error is a finding, anything else is a bug and is raised."""
    try:
        return Finding(check.name, True, await check.look(settings))
    except (CreativesError, OSError) as error:
        return Finding(check.name, False, (str(error),))


async def _versions(_: Settings) -> tuple[str, ...]:
    found = [f"{name} {_version(name)}" for name in PACKAGES]
    missing = [name for name in found if name.endswith(" missing")]
    if missing:
        raise OSError(f"{', '.join(missing)}: install with `make install`")
    ours = f"creatives {_version('fluence-creatives')}, Python {platform.python_version()}, {platform.platform()}"
    return ours, ", ".join(found)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


async def _machine(_: Settings) -> tuple[str, ...]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (f"{os.cpu_count()} cores, {memory:.0f} GiB of memory",)


async def _broker(settings: Settings) -> tuple[str, ...]:
    kafka = settings.kafka
    if kafka.bootstrap_servers == "embedded":
        return ("embedded: it starts with `creatives demo` and `creatives services`",)
    topic_states = await topics.topic_states(settings)
    problem = topics.topic_problem(topic_states, f"{kafka.bootstrap_servers} answers, but ")
    if problem is not None:
        raise problem
    return (
        f"{kafka.bootstrap_servers} over {kafka.security_protocol}",
        f"all {len(topic_states)} topics are as they should be",
    )


async def _store(settings: Settings) -> tuple[str, ...]:
    """Write, read and delete one small object: rights are known only by using them."""
    storage = settings.storage
    if storage.endpoint == "embedded":
        return ("embedded: it starts with `creatives demo` and `creatives services`",)
    store = MinioStore(storage)
    key, content = f"doctor/{uuid.uuid4()}", b"may be deleted"
    try:
        await store.check()
        await store.put(key, content, "text/plain")
        if await store.get(key) != content:
            raise StoreRefused(endpoint=storage.endpoint, detail="it gives back something else than was put in.")
        await store.delete(key)
        waiting = await store.list(PARKED)
    finally:
        store.close()
    return (f"{storage.endpoint}, bucket {storage.bucket}: can write, read and delete", *_waiting(waiting))


def _waiting(keys: list[str]) -> Iterator[str]:
    """Say how many segments wait for which products: of one that is never registered nothing else tells."""
    products = Counter(key.removeprefix(PARKED).split("/")[0] for key in keys)
    if products:
        most = ", ".join(f"{product} {count}" for product, count in products.most_common(_NAMED))
        more = f", and {len(products) - _NAMED} products more" if len(products) > _NAMED else ""
        yield f"{len(keys)} segments wait for a product to be learned: {most}{more}"


async def _embedded(settings: Settings) -> tuple[str, ...]:
    with Embedded({spec.name: spec.partitions for spec in topics.expected_topics(settings)}) as services:
        kafka = settings.kafka.model_copy(update={"bootstrap_servers": services.bootstrap_servers})
        await topics.check(settings.model_copy(update={"kafka": kafka}))
    return ("the embedded broker and store start",)


async def _device(settings: Settings) -> tuple[str, ...]:
    """Ask a device process of its own, which loads no weights."""
    process = DeviceProcess(DEVICE_ENTRY, settings.studio.plan())
    message: object = None
    try:
        async with asyncio.timeout(settings.device.start_deadline):
            message = await process.messages.get()
    except TimeoutError:
        message = ProcessEnded(f"said nothing for {settings.device.start_deadline:g} s")
    finally:
        process.kill("has said enough")
        await process.ended.wait()
    if isinstance(message, CreativesError):
        raise message
    if not isinstance(message, DeviceSeen):
        how = message.reason if isinstance(message, ProcessEnded) else "said what nobody asked"
        detail = f"its process {how}. Choose another with CREATIVES_STUDIO__DEVICE (auto, cpu)."
        raise DeviceUnavailable(device=settings.studio.device, detail=detail)
    memory = f", {message.free / 2**30:.1f} of {message.memory / 2**30:.1f} GiB free" if message.memory else ""
    return (f"{message.device}: {message.name}{memory}", f"torch {message.torch}, {message.dtype}")


async def _models(settings: Settings) -> tuple[str, ...]:
    """Load everything as a worker would, in the device process."""
    device = DeviceClient(settings.studio.plan(), settings.device)
    try:
        ready = await device.start()
    finally:
        await device.stop()
    models = [f"{model.role}: {model.id} ({model.revision[:16]}, {model.licence})" for model in ready.recipe.models]
    return f"on {ready.device}, recipe {ready.recipe.fingerprint[:12]}", *models


VERSIONS = Check("versions", _versions)
MACHINE = Check("machine", _machine)
BROKER = Check("broker", _broker)
STORE = Check("store", _store)
EMBEDDED = Check("embedded", _embedded)
DEVICE = Check("device", _device)
MODELS = Check("models", _models)


def checks(settings: Settings, *, with_models: bool) -> list[Check]:
    """Return what to look at with these settings, cheap things first."""
    found = [VERSIONS, MACHINE, DEVICE, BROKER, STORE]
    if "embedded" in {settings.kafka.bootstrap_servers, settings.storage.endpoint}:
        found.append(EMBEDDED)
    return [*found, MODELS] if with_models else found
