"""The app, built at import for `faust -A streams.worker worker`. `creatives worker` runs the same app."""

from __future__ import annotations

from streams.app import create_app
from streams.settings import Settings

app = create_app(Settings())
