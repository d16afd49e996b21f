"""Links open only their own object, secrets stay secret. Only a real store checks signatures."""

import asyncio
import json
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from streams.settings import StorageSettings
from streams.store.s3 import MinioStore
from tests.faults.events import segment_event
from tests.faults.invariants import InvariantChecker

PICTURE = b"not for everyone"


async def status(url: str, method: str = "GET") -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.request(method, url)).status_code


def changed(url: str, **parameters: str | None) -> str:
    """Return the URL with parameters replaced, or removed if None."""
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **parameters}
    return urlunsplit(
        parts._replace(query=urlencode({name: value for name, value in query.items() if value is not None}))
    )


@pytest.mark.services
class TestPresignedLinks:
    @pytest.fixture
    async def testbed(self, make_real):
        async with make_real() as testbed:
            await testbed.store.put("creatives/segment-1/request-1/1.png", PICTURE, "image/png")
            await testbed.store.put("creatives/segment-1/request-1/2.png", PICTURE, "image/png")
            yield testbed

    @pytest.fixture
    def url(self, testbed):
        return testbed.store.link("creatives/segment-1/request-1/1.png")[0]

    async def test_a_link_opens_unchanged(self, url):
        assert await status(url) == 200

    async def test_nothing_opens_without_a_signature(self, testbed, url):
        bucket = f"{testbed.settings.storage.endpoint}/{testbed.settings.storage.bucket}"
        assert await status(url.split("?")[0]) == 403
        assert await status(f"{bucket}/?list-type=2") == 403
        assert await status(f"{bucket}/creatives/segment-1/request-1/9.png", "PUT") == 403

    async def test_a_link_opens_no_other_object(self, url):
        assert await status(url.replace("/1.png", "/2.png")) == 403

    async def test_a_link_allows_no_other_method(self, url):
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
    async def test_a_tampered_link_is_refused(self, url, parameters):
        assert await status(changed(url, **parameters)) in {400, 403}

    async def test_the_expiry_of_a_link_cannot_be_extended(self, testbed):
        short = _short_lived(testbed)
        url, _ = short.link("creatives/segment-1/request-1/1.png")
        assert await status(changed(url, **{"X-Amz-Expires": "3600"})) == 403
        short.close()

    async def test_an_expired_link_is_refused(self, testbed):
        short = _short_lived(testbed)
        url, ends = short.link("creatives/segment-1/request-1/1.png")
        assert ends is not None
        assert await status(url) == 200
        await asyncio.sleep(3.2)
        assert await status(url) == 403
        short.close()


def _short_lived(testbed) -> MinioStore:
    """Return a store whose links expire after 2 to 3 s. Links are dated in whole seconds, so one of 1 s may expire at once."""
    storage: StorageSettings = testbed.settings.storage
    return MinioStore(storage.model_copy(update={"url_expiry": 3}))


async def test_secrets_are_in_no_log_event_or_object(testbed, checker: InvariantChecker):
    """At log level debug: after a success, a dead letter and a store that refuses the worker."""
    secret = testbed.settings.storage.secret_key.get_secret_value()
    password = "the-password-of-the-broker"
    worker = await testbed.start_worker(CREATIVES_LOG__LEVEL="debug", CREATIVES_KAFKA__PASSWORD=password)
    await testbed.emit(segment_event("secret-1", "segment-1"), segment_event("secret-2", "../segment"))
    await checker.wait_for_outcomes(2)
    await worker.terminate()
    refused = await testbed.start_worker("refused", supervised=False, CREATIVES_STORAGE__BUCKET="no-such-bucket")
    assert await refused.wait_for_exit() != 0
    wrong = "a-wrong-but-secret-key"
    other = await testbed.start_worker(
        "wrong", supervised=False, CREATIVES_STORAGE__SECRET_KEY=wrong, CREATIVES_STORAGE__BUCKET="no-such-bucket"
    )
    await other.wait_for_exit()
    mistyped = await testbed.start_worker("mistyped", supervised=False, CREATIVES_KAFKA__PASSWROD=password)
    assert await mistyped.wait_for_exit() != 0
    texts = {one.name: one.log.read_text() for one in testbed.workers}
    texts |= {str(key): repr(copies) for key, copies in checker.copies.items()}
    for key in await testbed.store.list(""):
        texts[key] = repr(await testbed.store.get(key))
    assert len(texts) >= 6
    for place, text in texts.items():
        assert secret not in text, place
        assert wrong not in text, place
        assert password not in text, place


async def test_an_event_cannot_name_keys_outside_its_own_prefix(testbed, checker: InvariantChecker):
    await testbed.start_worker()
    names = ("../other", "a/../../b", "%2e%2e", "s3://x", "a\\b", ".hidden", "a\u2215b", "x" * 200, "a b", "-x", "")
    await testbed.emit(*(segment_event(f"traversal-{number}", name) for number, name in enumerate(names)))
    await checker.wait_for_outcomes(len(names))
    assert len(checker.dead_letter_reasons) == len(names)
    assert all("segment_id" in reason for reason in checker.dead_letter_reasons.values())
    assert await testbed.store.list("") == []
    assert json.dumps(list(checker.dead_letter_reasons.values())).count("invalid_event") == len(names)
