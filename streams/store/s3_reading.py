"""Reads objects from an S3 bucket, by blocking calls of the minio client."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from xml.etree.ElementTree import ParseError

from minio import Minio
from minio.error import MinioException, S3Error
from urllib3 import BaseHTTPResponse

from models.errors import Cancelled
from streams.failures import ObjectRefused, ObjectTooLarge
from streams.store.s3_errors import object_fault

_NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_CHUNK = 2**20  # bytes of a download between two checks of its size


class ObjectReader:
    """Reads one bucket. Objects are read as stored: a Content-Encoding that a writer set must not inflate them.

    Raises the errors of the client; and ObjectRefused if the store refuses one object although it serves the bucket.
    """

    def __init__(self, client: Minio, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def get(self, key: str, limit: int | None) -> bytes | None:
        """See ObjectStore."""
        response = self._open(key)
        if response is None:
            return None
        try:
            content: bytes = response.read(None if limit is None else limit + 1, decode_content=False)
            if limit is not None and len(content) > limit:
                raise ObjectTooLarge(uri=self._uri(key), limit=limit)
            return content
        finally:
            response.close()
            response.release_conn()

    def download(self, key: str, write: Callable[[bytes], object], limit: int | None, stop: threading.Event) -> bool:
        """See ObjectStore. Raises Cancelled once `stop` is set."""
        response = self._open(key)
        if response is None:
            return False
        received = 0
        try:
            if limit is not None and (response.length_remaining or 0) > limit:
                raise ObjectTooLarge(uri=self._uri(key), limit=limit)
            for chunk in response.stream(_CHUNK, decode_content=False):
                received += len(chunk)
                if limit is not None and received > limit:
                    raise ObjectTooLarge(uri=self._uri(key), limit=limit)
                if stop.is_set():
                    raise Cancelled
                write(chunk)
        finally:
            response.close()
            response.release_conn()
        return True

    def _open(self, key: str) -> BaseHTTPResponse | None:
        """Return the answer that holds an object's bytes, None if there is no such object."""
        try:
            response: BaseHTTPResponse = self._client.get_object(self._bucket, key)
        except (MinioException, ValueError) as error:
            if isinstance(error, S3Error) and error.code == "NoSuchKey":
                return None
            detail = object_fault(error)
            if detail is not None and self._serves_bucket():
                raise ObjectRefused(uri=self._uri(key), detail=detail) from None
            raise
        except ParseError:
            # A store repeats the name in its error without escaping it, so the error may not be valid XML.
            if _NOT_XML.search(key) and self._serves_bucket():
                raise ObjectRefused(uri=self._uri(key), detail="its name holds control characters") from None
            raise
        return response

    def _serves_bucket(self) -> bool:
        try:
            return bool(self._client.bucket_exists(self._bucket))
        except S3Error:
            return False

    def _uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"[:200]
