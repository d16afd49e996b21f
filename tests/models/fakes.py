"""Second implementations of the studio's Protocols, which run in microseconds."""

import hashlib
import socket

import numpy as np
import torch

from models.connection import Connection
from models.images import MEDIA_TYPES, Encoded
from models.wire_format import FROM_DEVICE


def connected():
    """Return both ends of a pipe: the worker's and the device process's."""
    ours, theirs = socket.socketpair()
    return Connection(ours, FROM_DEVICE), Connection(theirs)


class FakeGenerator:
    """Makes pictures of one colour, which depends on prompt and seed. `fail`: called before every picture."""

    def __init__(self, fail=lambda: None):
        self.pipeline = None
        self.size = 16
        self.fail = fail
        self.calls = []

    def generate(self, prompt, negative_prompt, seeds, picture_format="square", report=lambda done, total: None):
        self.calls.append((prompt, negative_prompt, seeds, picture_format))
        height, width = (16, 16) if picture_format == "square" else (8, 24)
        rows = []
        for done, seed in enumerate(seeds, start=1):
            self.fail()
            digest = hashlib.sha256(f"{prompt}|{negative_prompt}|{seed}".encode()).digest()
            rows.append(torch.tensor(list(digest[:3])).view(3, 1, 1).expand(3, height, width) / 255)
            report(done, len(seeds))
        return torch.stack(rows).contiguous()


class FakeReranker:
    """Scores the mean of the red channel."""

    def __init__(self):
        self.prompts = []

    def score(self, pixels, prompt):
        self.prompts.append(prompt)
        return [
            {"clip": round(float(value), 6), "clip_logit": float(value) * 100} for value in pixels[:, 0].mean((1, 2))
        ]


class FakeUpscaler:
    """Repeats every pixel."""

    scale = 4

    def upscale(self, pixels, report=lambda done, total: None):
        report(1, 1)
        return pixels.repeat_interleave(4, -1).repeat_interleave(4, -2)


class FakeScorer:
    """Scores the mean of one channel. `fail`: called before every call."""

    def __init__(self, name, channel, fail=lambda: None):
        self.name, self.channel, self.fail = name, channel, fail
        self.briefs = []

    def score(self, pixels, brief):
        self.fail()
        self.briefs.append(brief.request_id)
        return [{self.name: round(float(value), 6)} for value in pixels[:, self.channel].mean((1, 2))]


class FakeFinisher:
    """Halves the brightness. Its figure is the number of scores that the candidate has."""

    def __init__(self, name, fail=lambda: None):
        self.name, self.fail = name, fail

    def finish(self, pixels, brief, candidate):
        self.fail()
        return pixels / 2, {self.name: float(len(candidate.scores))}


class FakeEncoder:
    """Writes the origin, then the raw pixels."""

    def __call__(self, bytes_hwc, origin):
        height, width, _ = bytes_hwc.shape
        return Encoded(
            repr(origin).encode() + np.ascontiguousarray(bytes_hwc).tobytes(), MEDIA_TYPES["png"], width, height
        )
