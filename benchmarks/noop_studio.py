"""A device process that answers every brief at once with the same small picture."""

from __future__ import annotations

import signal

from models.briefs import Brief, Candidate, Picture, Rendering, StudioPlan, StudioReady
from models.connection import Connection
from models.wire import Answer, Render, Stop
from tests.faults.fake_studio import RECIPE, png, tokenizer

PICTURE = png("nothing", 0)
SCORES = {"clip": 0.5}


def serve(connection: Connection, _: StudioPlan) -> None:
    """Answer briefs until the worker exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(StudioReady(RECIPE, "none", tokenizer(), 77, "blurry"))
    try:
        while not isinstance(job := connection.recv(), Stop):
            assert isinstance(job, Render)
            for brief in job.briefs:
                connection.send(Answer(job.ticket, brief.request_id, rendering(brief)))
    except (EOFError, OSError):
        return


def rendering(brief: Brief) -> Rendering:
    """Return a rendering with one candidate and picture, for the first seed."""
    seed = brief.seeds[0]
    picture = Picture(1, "square", seed, 8, 8, "image/png", PICTURE, SCORES)
    return Rendering(brief.request_id, (picture,), (Candidate("square", 0, seed, SCORES, 1),), device_seconds=0.0)
