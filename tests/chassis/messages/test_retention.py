"""How long a message is remembered after its end."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

from trenza.chassis.contract import Event
from trenza.chassis.messages.definitions import Delivery, reacts
from trenza.chassis.messages.maintenance import DEDUPLICATION_WINDOW


class Rung(Event, type="door.Rung"):
    bell: str


async def test_what_comes_again_after_six_days_is_ignored(service_of: Any, clock: Any) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    @reacts(Rung)
    async def open_door(_: Any, event: Rung, _delivery: Delivery) -> None:
        heard.put_nowait(event.bell)

    def body(bell: str) -> str:
        moment = "2026-01-01T00:00:00+00:00"
        return json.dumps(
            {"id": str(uuid4()), "source": "trenza/door", "type": "door.Rung", "time": moment, "data": {"bell": bell}}
        )

    messages = service_of(open_door, clock=clock)
    await messages.start()
    first = body("front")
    await messages.receive([first])
    assert await asyncio.wait_for(heard.get(), 20) == "front"
    await messages.drain(5)
    clock.advance(timedelta(days=6).total_seconds())
    assert timedelta(days=6) < DEDUPLICATION_WINDOW
    assert await messages.maintenance.purge() == 0
    await messages.start()
    await messages.receive([first, body("back")])
    assert await asyncio.wait_for(heard.get(), 20) == "back"
    await messages.drain(5)
    assert heard.empty()
    clock.advance(timedelta(days=2).total_seconds())
    assert await messages.maintenance.purge() == 1
