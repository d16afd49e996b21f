"""The error that ends the demo."""

from __future__ import annotations

from streams.failures import StreamError


class DemoFailed(StreamError):
    """{reason}"""
