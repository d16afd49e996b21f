"""The app, made at import: `faust -A streams.worker worker`. `creatives worker` is the same with clearer words."""

from __future__ import annotations

from streams.app import create_app
from streams.settings import Settings

app = create_app(Settings())
