"""The app, built at import for `faust -A streams.worker worker`. `creatives worker` runs the same app."""

from __future__ import annotations

from models.weights.references import check_references
from streams.app import create_app
from streams.settings import Settings

settings = Settings()
check_references(settings.studio.plan())
app = create_app(settings)
