"""The checks of `creatives doctor`. A check returns lines about what works, or raises the error to fix."""

from __future__ import annotations

import asyncio
import os
import platform
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from aiokafka import codec

from models.briefs import DeviceProbe
from models.errors import CreativesError, DeviceUnavailable
from models.weights.references import check_references
from streams.device.client import DeviceClient
from streams.device.process import DeviceProcess, ProcessEnded
from streams.embedded import EmbeddedServices
from streams.failures import StoreRefused
from streams.kafka import topics
from streams.requests import segment_recipe
from streams.segments.prompting import prompt_settings
from streams.settings import Settings
from streams.store.keys import PARKED
from streams.store.s3 import MinioStore
from streams.store.signed_objects import Signer

_LISTED_PRODUCTS = 5
DEVICE_ENTRY = "models.devices:send_probe"  # what the child process runs
CODECS = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}  # by their numbers in a record batch
_SAMPLE = b"fluence creatives " * 100
PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch", "faust-streaming", "aiokafka", "minio", "pydantic")


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. lines: what was found, or what is wrong and how to fix it."""

    name: str
    passed: bool
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """One check. run: returns the lines of a passed check; raises CreativesError or OSError if the check fails."""

    name: str
    run: Callable[[Settings], Awaitable[tuple[str, ...]]]


async def run_check(check: Check, settings: Settings) -> CheckResult:
    """Run a check. CreativesError and OSError are results; any other exception is a bug and propagates."""
    try:
        return CheckResult(check.name, True, await check.run(settings))
    except (CreativesError, OSError) as error:
        return CheckResult(check.name, False, (str(error),))


async def _versions(_: Settings) -> tuple[str, ...]:
    packages = [f"{name} {_version(name)}" for name in PACKAGES]
    missing = [package for package in packages if package.endswith(" missing")]
    if missing:
        raise OSError(f"{', '.join(missing)}: install with `make install`")
    creatives = f"creatives {_version('fluence-creatives')}, Python {platform.python_version()}, {platform.platform()}"
    return creatives, ", ".join(packages)


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
        return ("embedded: `creatives demo` and `creatives services` start it",)
    topic_states = await topics.topic_states(settings)
    if error := topics.topic_problem(topic_states, f"{kafka.bootstrap_servers} answers, but "):
        raise error
    differences = [f"{state.spec.name} has {state.difference}" for state in topic_states if state.difference]
    return (
        f"{kafka.bootstrap_servers} over {kafka.security_protocol}",
        f"all {len(topic_states)} topics exist",
        *(f"{difference}: the setting applies at creation only" for difference in differences),
    )


async def _codecs(_: Settings) -> tuple[str, ...]:
    """Compress with each codec as an emitter does, and inflate as a worker does."""
    for number, name in CODECS.items():
        try:
            from streams.kafka.inflation import inflate  # here: it fails without the codecs

            inflated = inflate(number, getattr(codec, f"{name}_encode")(_SAMPLE), len(_SAMPLE))
        except (ImportError, RuntimeError) as error:  # NotImplementedError too
            raise OSError(f"{name} cannot be used ({error}): install with `make install`") from error
        if inflated != _SAMPLE:
            raise OSError(f"{name} returns other bytes than it was given: install with `make install`")
    return (f"reads batches that are compressed with {', '.join(CODECS.values())}",)


async def _store(settings: Settings) -> tuple[str, ...]:
    """Write, read and delete one small object: only use shows whether the credentials allow it."""
    storage = settings.storage
    if storage.endpoint == "embedded":
        return ("embedded: `creatives demo` and `creatives services` start it",)
    signer = Signer.from_settings(storage)
    store = MinioStore(storage)
    key, content = f"doctor/{uuid.uuid4()}", b"may be deleted"
    try:
        await store.check()
        await store.put(key, content, "text/plain")
        if await store.get(key) != content:
            raise StoreRefused(endpoint=storage.endpoint, detail="an object read back differs from the bytes written.")
        await store.delete(key)
        parked = await store.list(PARKED)
    finally:
        store.close()
    return (
        f"{storage.endpoint}, bucket {storage.bucket}: can write, read and delete",
        f"signing keys {', '.join(signer.fingerprints)}: every worker must show the same",
        *_parked_segments(parked),
    )


def _parked_segments(keys: list[str]) -> Iterator[str]:
    """Report how many segments wait for which products: no other output shows a product that is never registered."""
    products = Counter(key.removeprefix(PARKED).split("/")[0] for key in keys)
    if products:
        listed = ", ".join(f"{product} {count}" for product, count in products.most_common(_LISTED_PRODUCTS))
        more = f", and {len(products) - _LISTED_PRODUCTS} more products" if len(products) > _LISTED_PRODUCTS else ""
        yield f"{len(keys)} segments wait for a product that is not trained yet: {listed}{more}"


async def _embedded(settings: Settings) -> tuple[str, ...]:
    with EmbeddedServices({spec.name: spec.partitions for spec in topics.expected_topics(settings)}) as services:
        kafka = settings.kafka.model_copy(update={"bootstrap_servers": services.bootstrap_servers})
        await topics.check(settings.model_copy(update={"kafka": kafka}))
    return ("the embedded broker and store start",)


async def _device(settings: Settings) -> tuple[str, ...]:
    """Start a device process that loads no weights and reports its device."""
    process = DeviceProcess(DEVICE_ENTRY, settings.studio.plan())
    message: object = None
    try:
        async with asyncio.timeout(settings.device.start_deadline):
            message = await process.messages.get()
    except TimeoutError:
        message = ProcessEnded(f"did not answer within {settings.device.start_deadline:g} s")
    finally:
        process.kill("was stopped after the check")
        await process.ended.wait()
    if isinstance(message, CreativesError):
        raise message
    if not isinstance(message, DeviceProbe):
        how = message.reason if isinstance(message, ProcessEnded) else "sent an unexpected message"
        detail = f"its process {how}. Choose another with CREATIVES_STUDIO__DEVICE (auto, cpu)."
        raise DeviceUnavailable(device=settings.studio.device, detail=detail)
    memory = f", {message.free / 2**30:.1f} of {message.memory / 2**30:.1f} GiB free" if message.memory else ""
    return (f"{message.device}: {message.name}{memory}", f"torch {message.torch}, {message.dtype}", _isolation(message))


def _isolation(probe: DeviceProbe) -> str:
    """Report what a device process may not do on this machine. It never gets a secret."""
    refused = ", ".join(right.replace("_", " ") for right in probe.refused)
    return f"its process gets no secret of the worker; the kernel refuses it: {refused or 'nothing more (not Linux)'}"


async def _weights(settings: Settings) -> tuple[str, ...]:
    """Look for the weights without loading them."""
    plan = settings.studio.plan()
    await asyncio.to_thread(check_references, plan)
    return (f"found: {plan.diffusion}, {plan.reranking}, {plan.upscaling}{f', {plan.dino}' if plan.dino else ''}",)


async def _models(settings: Settings) -> tuple[str, ...]:
    """Load all weights in the device process, as a worker does."""
    device = DeviceClient(settings.studio.plan(), settings.device)
    try:
        ready = await device.start()
    finally:
        await device.stop()
    negative = settings.studio.negative_prompt
    prompts = prompt_settings(ready.negative_prompt if negative is None else negative, ready.vocabulary)
    recipe = segment_recipe(ready.recipe, prompts, settings.studio).fingerprint
    models = [f"{model.role}: {model.id} ({model.revision[:16]}, {model.licence})" for model in ready.recipe.models]
    return f"on {ready.device}, recipe {recipe}, studio_recipe {ready.recipe.fingerprint}", *models, *ready.notes


VERSIONS = Check("versions", _versions)
MACHINE = Check("machine", _machine)
CODEC = Check("codecs", _codecs)
BROKER = Check("broker", _broker)
STORE = Check("store", _store)
EMBEDDED = Check("embedded", _embedded)
DEVICE = Check("device", _device)
WEIGHTS = Check("weights", _weights)
MODELS = Check("models", _models)


def select_checks(settings: Settings, *, with_models: bool) -> list[Check]:
    """Return the checks for these settings, the fastest first."""
    selected = [VERSIONS, MACHINE, CODEC, WEIGHTS, DEVICE, BROKER, STORE]
    if "embedded" in {settings.kafka.bootstrap_servers, settings.storage.endpoint}:
        selected.append(EMBEDDED)
    return [*selected, MODELS] if with_models else selected
