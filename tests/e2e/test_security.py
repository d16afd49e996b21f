"""Nobody reads what is not theirs, and secrets stay secret. Signatures are checked by a real store alone."""

import asyncio
import json
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from streams.settings import StorageSettings
from streams.store.s3 import MinioStore
from tests.faults.ground import segment
from tests.faults.invariants import Auditor

PICTURE = b"not for everyone"


async def status(url: str, method: str = "GET") -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.request(method, url)).status_code


def changed(url: str, **parameters: str | None) -> str:
    """Return the URL with parameters replaced, or taken out (None)."""
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **parameters}
    return urlunsplit(
        parts._replace(query=urlencode({name: value for name, value in query.items() if value is not None}))
    )


@pytest.mark.services
class TestPresignedLinks:
    @pytest.fixture
    async def ground(self, make_real):
        async with make_real() as ground:
            await ground.store.put("creatives/segment-1/request-1/1.png", PICTURE, "image/png")
            await ground.store.put("creatives/segment-1/request-1/2.png", PICTURE, "image/png")
            yield ground

    @pytest.fixture
    def url(self, ground):
        return ground.store.link("creatives/segment-1/request-1/1.png")[0]

    async def test_it_opens_as_it_is(self, url):
        assert await status(url) == 200

    async def test_nobody_reads_without_it(self, ground, url):
        bucket = f"{ground.settings.storage.endpoint}/{ground.settings.storage.bucket}"
        assert await status(url.split("?")[0]) == 403
        assert await status(f"{bucket}/?list-type=2") == 403
        assert await status(f"{bucket}/creatives/segment-1/request-1/9.png", "PUT") == 403

    async def test_it_opens_nothing_else(self, url):
        assert await status(url.replace("/1.png", "/2.png")) == 403

    async def test_it_allows_nothing_else(self, url):
        assert await status(url, "PUT") == 403
        assert await status(url, "DELETE") == 403

    @pytest.mark.parametrize(
        "parameters",
        [
            {"X-Amz-Signature": "0" * 64},
            {"X-Amz-Expires": "604800000"},
            {"X-Amz-Signature": None},
            {"versionId": "null"},
        ],
    )
    async def test_tampered(self, url, parameters):
        assert await status(changed(url, **parameters)) in {400, 403}

    async def test_a_longer_life_cannot_be_given_to_it(self, ground):
        short = _short_lived(ground)
        url, _ = short.link("creatives/segment-1/request-1/1.png")
        assert await status(changed(url, **{"X-Amz-Expires": "3600"})) == 403
        short.close()

    async def test_expired(self, ground):
        short = _short_lived(ground)
        url, ends = short.link("creatives/segment-1/request-1/1.png")
        assert ends is not None
        assert await status(url) == 200
        await asyncio.sleep(3.2)
        assert await status(url) == 403
        short.close()


def _short_lived(ground) -> MinioStore:
    """Links of two to three seconds: they are dated by the whole second, so that one of 1 s may be over at once."""
    storage: StorageSettings = ground.settings.storage
    return MinioStore(storage.model_copy(update={"url_expiry": 3}))


async def test_secrets_are_in_no_log_event_or_object(ground, auditor: Auditor):
    """At log level debug, over success, a dead letter and a store that refuses."""
    secret = ground.settings.storage.secret_key.get_secret_value()
    password = "the-password-of-the-broker"
    worker = await ground.worker(CREATIVES_LOG__LEVEL="debug", CREATIVES_KAFKA__PASSWORD=password)
    await ground.emit(segment("secret-1", "segment-1"), segment("secret-2", "../segment"))
    await auditor.until(2)
    await worker.leave()
    refused = await ground.worker("refused", supervised=False, CREATIVES_STORAGE__BUCKET="no-such-bucket")
    assert await refused.ended() != 0
    wrong = "a-wrong-but-secret-key"
    other = await ground.worker(
        "wrong", supervised=False, CREATIVES_STORAGE__SECRET_KEY=wrong, CREATIVES_STORAGE__BUCKET="no-such-bucket"
    )
    await other.ended()
    mistyped = await ground.worker("mistyped", supervised=False, CREATIVES_KAFKA__PASSWROD=password)
    assert await mistyped.ended() != 0
    texts = {one.name: one.log.read_text() for one in ground.workers}
    texts |= {str(fate): repr(copies) for fate, copies in auditor.values.items()}
    for key in await ground.store.list(""):
        texts[key] = repr(await ground.store.get(key))
    assert len(texts) >= 6
    for place, text in texts.items():
        assert secret not in text, place
        assert wrong not in text, place
        assert password not in text, place


async def test_an_event_cannot_name_keys_outside_its_own(ground, auditor: Auditor):
    await ground.worker()
    names = ("../other", "a/../../b", "%2e%2e", "s3://x", "a\\b", ".hidden", "a\u2215b", "x" * 200, "a b", "-x", "")
    await ground.emit(*(segment(f"traversal-{number}", name) for number, name in enumerate(names)))
    await auditor.until(len(names))
    assert len(auditor.reasons) == len(names)
    assert all("segment_id" in reason for reason in auditor.reasons.values())
    assert await ground.store.list("") == []
    assert json.dumps(list(auditor.reasons.values())).count("invalid_event") == len(names)
