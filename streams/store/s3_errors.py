"""Translates errors of the S3 client into StoreUnavailable or StoreRefused.

Details never contain credentials or signed URLs: they describe the failure, not the request.
"""

from __future__ import annotations

import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError

from streams.failures import StoreRefused, StoreUnavailable, StreamError

_TRANSIENT = {"SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "ServiceUnavailable", "RequestTimeout"}

_BUSY = {408, 425, 429}
# These concern the deployment even if the next request succeeds, because somebody has just corrected the clock or key.
_OF_DEPLOYMENT = {"InvalidAccessKeyId", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed", "NoSuchBucket"}

_CHECK_SETTINGS = "Check the CREATIVES_STORAGE__* settings; `creatives doctor` tests them."


def store_error(error: Exception, endpoint: str) -> StreamError:
    """Return StoreUnavailable for a transient error, StoreRefused for one that an operator must fix."""
    match error:
        case S3Error(code=str() as code):
            if code in _TRANSIENT or _is_transient(error.response.status):
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


def object_fault(error: Exception) -> str | None:
    """Return what a store may have against one object: the object's name, archive or permissions.

    None if the error concerns the store, the bucket or the credentials. Codes such as AccessDenied and
    SignatureDoesNotMatch (a proxy that rewrites the name) are ambiguous: the caller must check the bucket.
    """
    match error:
        case S3Error(code=str() as code):
            ours = code in _TRANSIENT | _OF_DEPLOYMENT
            return None if ours else _client_error(error.response.status, code)
        case ServerError(status_code=status):
            return _client_error(int(status), f"HTTP status {status}")
        case InvalidResponseError():
            return _client_error(int(error._code), f"HTTP status {error._code}")  # noqa: SLF001
        case UnicodeDecodeError():  # of a cut-off answer
            return None
        case ValueError():
            return f"its name is invalid ({error})"
        case _:
            return None


def _client_error(status: int, detail: str) -> str | None:
    return None if status < 400 or _is_transient(status) else detail


def _is_transient(status: int) -> bool:
    return status >= 500 or status in _BUSY


def _status_error(status: int, endpoint: str) -> StreamError:
    if _is_transient(status):
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
