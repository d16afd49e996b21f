"""What an S3 client's error means for us: nobody home, or a no.

Credentials and signed URLs never get into the details: they name what happened, not the request.
"""

from __future__ import annotations

import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError

from streams.failures import StoreRefused, StoreUnavailable, StreamError

_PASSING_CODES = {"SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "ServiceUnavailable", "RequestTimeout"}

_ELSE = "Check the CREATIVES_STORAGE__* settings; `creatives doctor` tries them."


def named(error: Exception, endpoint: str) -> StreamError:
    """Return StoreUnavailable for what passes by itself, StoreRefused for what a person must change."""
    match error:
        case S3Error(code=str() as code):
            if code in _PASSING_CODES or code.startswith("XMinio") or error.response.status >= 500:
                return StoreUnavailable(endpoint=endpoint, detail=code)
            return StoreRefused(endpoint=endpoint, detail=_advice(code))
        case ServerError(status_code=status):
            return _by_status(int(status), endpoint)
        case InvalidResponseError():
            return _by_status(int(error._code), endpoint)  # noqa: SLF001 - the client gives it no public name
        case urllib3.exceptions.MaxRetryError(reason=Exception() as reason):
            return StoreUnavailable(endpoint=endpoint, detail=_kind(reason))
        case _:
            return StoreUnavailable(endpoint=endpoint, detail=_kind(error))


def _by_status(status: int, endpoint: str) -> StreamError:
    if status >= 500 or status in {408, 425, 429}:
        return StoreUnavailable(endpoint=endpoint, detail=f"HTTP status {status}")
    return StoreRefused(endpoint=endpoint, detail=f"HTTP status {status}. {_ELSE}")


def _advice(code: str) -> str:
    if code in {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"}:
        return f"{code}. Check CREATIVES_STORAGE__ACCESS_KEY, CREATIVES_STORAGE__SECRET_KEY and their rights."
    return f"{code}. {_ELSE}"


def _kind(error: Exception) -> str:
    """Return an error's kind in words that hold no URL: `NewConnectionError`, `Connection refused`."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(error).__name__
