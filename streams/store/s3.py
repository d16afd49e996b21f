"""An `ObjectStore` on MinIO or any S3 store. The blocking calls of the minio client run in a thread pool of the store.

Errors never contain credentials: details describe the failure, not the URL.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, quote, urlsplit
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error, ServerError

from models.errors import Cancelled
from streams.failures import ObjectTooLarge, StoreRefused
from streams.settings import StorageSettings
from streams.store.s3_errors import store_error
from streams.store.transfers import end_with_thread, open_upload

T = TypeVar("T")

_PART_SIZE = 16 * 2**20  # keeps a picture one request; the client's default splits 6 MiB into four
_CHUNK_SIZE = 2**20
_CONNECTIONS = 16


def _parse_endpoint(endpoint: str) -> SplitResult:
    """Return the endpoint's parts. Raises StoreRefused unless it is an http(s) URL without a path or user."""
    address = urlsplit(endpoint)
    if address.scheme not in {"http", "https"} or not address.netloc or address.path.strip("/") or address.username:
        raise StoreRefused(
            endpoint=address.hostname or "?", detail="the endpoint must be http://host:port or https://host:port."
        )
    return address


def _client(address: SplitResult, settings: StorageSettings, pool: urllib3.PoolManager) -> Minio:
    return Minio(
        address.netloc,
        access_key=settings.access_key.get_secret_value(),
        secret_key=settings.secret_key.get_secret_value(),
        secure=address.scheme == "https",
        region=settings.region,
        http_client=pool,
    )


class MinioStore:
    """An `ObjectStore` on MinIO or any S3 store."""

    def __init__(self, settings: StorageSettings) -> None:
        address = _parse_endpoint(settings.endpoint)
        self.endpoint = f"{address.scheme}://{address.netloc}"
        self._bucket = settings.bucket
        self._region = settings.region
        self._public_base = settings.public_base.rstrip("/") if settings.public_base else None
        self._expiry = timedelta(seconds=settings.url_expiry)
        self._conditional: bool | None = None  # whether the store honours If-None-Match; None: unknown so far
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            timeout=urllib3.Timeout(connect=min(settings.timeout, 10.0), read=settings.timeout),
            retries=urllib3.Retry(total=1, redirect=0, status=0),  # one: the store may close an idle connection
            ca_certs=settings.ca_file,
            cert_reqs="CERT_REQUIRED",
        )
        self._client = _client(address, settings, self._pool)
        public = settings.public_endpoint
        self._signer = _client(_parse_endpoint(public), settings, self._pool) if public else self._client
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="store")

    def put(self, key: str, content: bytes, media_type: str) -> Awaitable[None]:
        """See ObjectStore."""
        return self._run(
            lambda: self._client.put_object(
                self._bucket, key, io.BytesIO(content), len(content), media_type, part_size=_PART_SIZE
            )
        )

    def put_if_absent(self, key: str, content: bytes, media_type: str) -> Awaitable[bool]:
        """See ObjectStore. Atomic if the store honours `If-None-Match: *`; otherwise a check, then a write."""
        return self._run(lambda: self._put_if_absent(key, content, media_type))

    def put_if_match(self, key: str, content: bytes, media_type: str, etag: str) -> Awaitable[bool]:
        """See ObjectStore. A store that does not know `If-Match` writes in any case."""
        condition = {"If-Match": f'"{etag}"'}
        return self._run(lambda: self._put_conditionally(key, content, media_type, condition))

    def etag(self, key: str) -> Awaitable[str | None]:
        """See ObjectStore."""
        return self._run(lambda: self._etag(key))

    def get(self, key: str, limit: int | None = None) -> Awaitable[bytes | None]:
        """See ObjectStore."""
        return self._run(lambda: self._get(key, limit))

    def upload(self, key: str, path: Path, media_type: str) -> Awaitable[None]:
        """See ObjectStore."""
        stop = threading.Event()
        return end_with_thread(self._run(lambda: self._upload(key, path, media_type, stop)), stop)

    def download(self, key: str, write: Callable[[bytes], object], limit: int | None = None) -> Awaitable[bool]:
        """See ObjectStore."""
        stop = threading.Event()
        return end_with_thread(self._run(lambda: self._download(key, write, limit, stop)), stop)

    def list(self, prefix: str, before: datetime | None = None) -> Awaitable[list[str]]:
        """See ObjectStore."""
        return self._run(
            lambda: sorted(
                found.object_name or ""
                for found in self._client.list_objects(self._bucket, prefix, recursive=True)
                if before is None or (found.last_modified is not None and found.last_modified < before)
            )
        )

    def delete(self, key: str) -> Awaitable[None]:
        """See ObjectStore."""
        return self._run(lambda: self._client.remove_object(self._bucket, key))

    async def check(self) -> None:
        """See ObjectStore."""
        if not await self._run(lambda: self._client.bucket_exists(self._bucket)):
            raise StoreRefused(
                endpoint=self.endpoint,
                detail=f"no bucket {self._bucket!r}. Create it, or name another with CREATIVES_STORAGE__BUCKET.",
            )

    async def make_bucket(self) -> None:
        """Create the bucket unless it exists."""
        if not await self._run(lambda: self._client.bucket_exists(self._bucket)):
            await self._run(lambda: self._client.make_bucket(self._bucket))

    def uri(self, key: str) -> str:
        """See ObjectStore."""
        return f"s3://{self._bucket}/{key}"

    def link(self, key: str) -> tuple[str, datetime | None]:
        """See ObjectStore. Signs locally, without a request. URLs below a public base are not signed."""
        if self._public_base is not None:
            return f"{self._public_base}/{quote(key)}", None
        now = datetime.now(UTC).replace(microsecond=0)
        url = self._signer.presigned_get_object(self._bucket, key, expires=self._expiry, request_date=now)
        return url, now + self._expiry

    def close(self) -> None:
        """Shut down the threads and close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.clear()

    def _run(self, call: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, self._call, call)

    def _call(self, call: Callable[[], T]) -> T:
        """Run `call`. A boundary: every error of the client and the network becomes a StreamError."""
        try:
            return call()
        except FileNotFoundError:  # from a local file, not from the store
            raise
        except (MinioException, urllib3.exceptions.HTTPError, OSError, ParseError) as error:  # ParseError: cut-off XML
            raise store_error(error, self.endpoint) from None  # the cause's text contains signed URLs
        except ValueError as error:  # the client rejects a bucket name before any request
            detail = f"{error}. Check CREATIVES_STORAGE__BUCKET."
            raise StoreRefused(endpoint=self.endpoint, detail=detail) from None

    def _get(self, key: str, limit: int | None) -> bytes | None:
        try:
            response = self._client.get_object(self._bucket, key)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise
        try:
            # As stored: a Content-Encoding that a bucket writer set must neither inflate the object nor fail the read.
            content: bytes = response.read(None if limit is None else limit + 1, decode_content=False)
            if limit is not None and len(content) > limit:
                raise ObjectTooLarge(uri=self.uri(key), limit=limit)
            return content
        finally:
            response.close()
            response.release_conn()

    def _upload(self, key: str, path: Path, media_type: str, stop: threading.Event) -> None:
        with open_upload(path, stop) as source:
            self._client.put_object(self._bucket, key, source, source.size, media_type, part_size=_PART_SIZE)

    def _download(self, key: str, write: Callable[[bytes], object], limit: int | None, stop: threading.Event) -> bool:
        try:
            response = self._client.get_object(self._bucket, key)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return False
            raise
        received = 0
        try:
            for chunk in response.stream(_CHUNK_SIZE, decode_content=False):
                received += len(chunk)
                if limit is not None and received > limit:
                    raise ObjectTooLarge(uri=self.uri(key), limit=limit)
                if stop.is_set():
                    raise Cancelled
                write(chunk)
        finally:
            response.close()
            response.release_conn()
        return True

    def _put_if_absent(self, key: str, content: bytes, media_type: str) -> bool:
        absent = {"If-None-Match": "*"}
        if self._conditional is not True and self._etag(key) is not None:
            return False
        if not self._put_conditionally(key, content, media_type, absent):
            self._conditional = True
            return False
        if self._conditional is None:  # the object exists now: a store that honours the condition rejects this write
            self._conditional = not self._put_conditionally(key, content, media_type, absent)
        return True

    def _etag(self, key: str) -> str | None:
        try:
            return self._client.stat_object(self._bucket, key).etag or ""
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            if error.response.status != 400:
                raise
        # A bucket writer has encrypted the object with a key of its own. The list shows its ETag all the same.
        found = self._client.list_objects(self._bucket, prefix=key)
        return next((item.etag for item in found if item.object_name == key), None)

    def _put_conditionally(self, key: str, content: bytes, media_type: str, condition: dict[str, str]) -> bool:
        """Write under a condition through a presigned PUT: the minio client cannot send the header of a condition."""
        url = self._client.get_presigned_url("PUT", self._bucket, key, expires=timedelta(minutes=5))
        digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        headers = {"Content-Type": media_type, "Content-MD5": digest}
        response = self._pool.urlopen("PUT", url, body=content, headers=headers | condition)
        if response.status == 501:  # the store does not support the condition
            response = self._pool.urlopen("PUT", url, body=content, headers=headers)
        if response.status == 412 or (response.status == 404 and "If-Match" in condition):
            return False
        if response.status != 200:
            raise ServerError(f"status {response.status}", 503 if response.status == 409 else response.status)
        return True
