"""Translates errors of the S3 client into StoreUnavailable or StoreRefused.

Details never contain credentials or signed URLs: they describe the failure, not the request.
"""

from __future__ import annotations

import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError

from streams.failures import StoreRefused, StoreUnavailable, StreamError

_TRANSIENT = {"SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "ServiceUnavailable", "RequestTimeout"}

_CHECK_SETTINGS = "Check the CREATIVES_STORAGE__* settings; `creatives doctor` tests them."


def store_error(error: Exception, endpoint: str) -> StreamError:
    """Return StoreUnavailable for a transient error, StoreRefused for one that an operator must fix."""
    match error:
        case S3Error(code=str() as code):
            if code in _TRANSIENT or code.startswith("XMinio") or error.response.status >= 500:
                return StoreUnavailable(endpoint=endpoint, detail=code)
            return StoreRefused(endpoint=endpoint, detail=_advice(code))
        case ServerError(status_code=status):
            return _status_error(int(status), endpoint)
        case InvalidResponseError():
            return _status_error(int(error._code), endpoint)  # noqa: SLF001 - the client has no public name for it
        case urllib3.exceptions.MaxRetryError(reason=Exception() as reason):
            return StoreUnavailable(endpoint=endpoint, detail=_description(reason))
        case _:
            return StoreUnavailable(endpoint=endpoint, detail=_description(error))


def _status_error(status: int, endpoint: str) -> StreamError:
    if status >= 500 or status in {408, 425, 429}:
        return StoreUnavailable(endpoint=endpoint, detail=f"HTTP status {status}")
    return StoreRefused(endpoint=endpoint, detail=f"HTTP status {status}. {_CHECK_SETTINGS}")


def _advice(code: str) -> str:
    if code in {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"}:
        return f"{code}. Check CREATIVES_STORAGE__ACCESS_KEY, CREATIVES_STORAGE__SECRET_KEY and their permissions."
    return f"{code}. {_CHECK_SETTINGS}"


def _description(error: Exception) -> str:
    """Return a description without URLs, such as `NewConnectionError` or `Connection refused`."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(error).__name__
