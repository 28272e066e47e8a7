from __future__ import annotations

import asyncio
from typing import Any

from trenza.chassis.contract import Task
from trenza.chassis.data import Database
from trenza.chassis.messages.definitions import Delivery, handles


class Bake(Task, type="test.Bake"):
    """Work that a process dies over."""


async def test_who_is_alone_goes_on_at_once_with_what_another_left(
    service_of: Any, enqueue: Any, effects: Any, clock: Any, database: Database
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @handles(Bake)
    async def bake(name: str, _order: Bake, delivery: Delivery) -> None:
        if name == "the first":
            begun.set()
            await go_on.wait()
        async with delivery.finish() as work:
            await effects.add(work, f"{name}, attempt {delivery.attempt}")

    first = service_of(bake, clock=clock)
    task_id = await enqueue(Bake())
    await first.start("the first")
    await begun.wait()

    elsewhere = Database(database.url, schema=database.schema)
    second = service_of(bake, clock=clock, on=elsewhere)
    await second.take_over()  # no time passes on the clock: no lease runs out by itself
    await second.start("the second")
    state = await second.wait(task_id, timeout=20)
    assert (state.state, state.attempts) == ("completed", 2)

    go_on.set()
    await first.drain(5)
    await second.drain(5)
    await elsewhere.close()
    assert await effects.all() == ["the second, attempt 2"]
