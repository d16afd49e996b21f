"""Decodes raw messages and passes the events to their handlers. They exist once the models are loaded."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from schemas.events import ProductRegistered, SegmentUpdated
from streams.device.client import DeviceClient
from streams.event_line import note
from streams.kafka.decoding import decode
from streams.messages import Outcome, RawEvent
from streams.products.train import train_product
from streams.requests import Tools
from streams.segments.render import render_segment


class Handlers:
    """One `streams.kafka.delivery.Attempt` per input topic. training_device: started by the first registration."""

    def __init__(self, tools: Tools, training_device: DeviceClient) -> None:
        self._tools = tools
        self._training_device = training_device
        self._training_start = asyncio.Lock()

    async def render(self, raw: RawEvent) -> Outcome | None:
        """Handle a `segment-updated` message; None if the segment was parked."""
        event = decode(raw, SegmentUpdated, self._tools.limits)
        note(event_id=event.event_id, segment_id=event.segment_id, product_id=event.product_id)
        return await render_segment(event, raw.source, self._tools, raw.headers)

    async def train(self, raw: RawEvent) -> Outcome | None:
        """Handle a `product-registered` message."""
        event = decode(raw, ProductRegistered, self._tools.limits)
        note(event_id=event.event_id, product_id=event.product_id)
        async with self._training_start:
            if self._training_device.status().state == "stopped":
                await self._training_device.start()
        tools = replace(self._tools, device=self._training_device)
        return await train_product(event, raw.source, tools, raw.headers)
