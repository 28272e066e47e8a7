"""Nobody is starved: not by a flood of another type, of another key, or of what fails all the time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trenza.chassis.contract import Task
from trenza.chassis.messages.definitions import Backoff, Delivery, handles

FLOOD = 600


class Flood(Task, type="test.Flood", key="key"):
    number: int
    key: str | None = None


class Trickle(Task, type="test.Trickle"):
    number: int


async def completed(messages: Any, *task_ids: Any) -> None:
    for task_id in task_ids:
        state = await messages.wait(task_id, timeout=30)
        assert state is not None
        assert state.state == "completed"


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_flood_of_one_type_does_not_starve_another(service_of: Any, database: Any, *, concurrency: int) -> None:
    order: list[str] = []

    @handles(Flood)
    async def flood(_: Any, _order: Flood, _delivery: Delivery) -> None:
        await asyncio.sleep(0.002)
        order.append("flood")

    @handles(Trickle, concurrency=1)
    async def trickle(_: Any, _order: Trickle, _delivery: Delivery) -> None:
        order.append("trickle")

    messages = service_of(flood, trickle, concurrency=concurrency)
    async with database.work() as work:
        first = [await work.enqueue(Flood(number=number)) for number in range(FLOOD)]
        last = [await work.enqueue(Trickle(number=number)) for number in range(3)]
    await messages.start()
    await completed(messages, *last)
    begun = order.count("flood")
    await completed(messages, *first)
    assert begun < FLOOD * 0.9, f"{begun} of the flood came before the last of three others"


async def test_a_higher_priority_goes_before_a_fair_share(service_of: Any, database: Any) -> None:
    order: list[str] = []

    @handles(Flood)
    async def flood(_: Any, task: Flood, _delivery: Delivery) -> None:
        order.append(f"flood {task.number}")

    @handles(Trickle)
    async def trickle(_: Any, task: Trickle, _delivery: Delivery) -> None:
        order.append(f"trickle {task.number}")

    messages = service_of(flood, trickle, concurrency=1)
    async with database.work() as work:
        low = [await work.enqueue(Trickle(number=number), priority=-1) for number in range(2)]
        high = [await work.enqueue(Flood(number=number)) for number in range(5)]
    await messages.start()
    await completed(messages, *low, *high)
    assert order == [*(f"flood {number}" for number in range(5)), "trickle 0", "trickle 1"]


async def test_a_flood_of_one_key_does_not_hold_up_other_keys(service_of: Any, database: Any) -> None:
    order: list[str | None] = []

    @handles(Flood)
    async def flood(_: Any, task: Flood, _delivery: Delivery) -> None:
        await asyncio.sleep(0.002)
        order.append(task.key)

    messages = service_of(flood, concurrency=2)
    async with database.work() as work:
        first = [await work.enqueue(Flood(number=number, key="flooded")) for number in range(FLOOD)]
        other = [await work.enqueue(Flood(number=number, key=f"key {number}")) for number in range(5)]
    await messages.start()
    await completed(messages, *other)
    begun = order.count("flooded")
    await completed(messages, *first)
    assert begun < FLOOD / 10


async def test_what_fails_all_the_time_does_not_hold_up_the_rest(service_of: Any, database: Any) -> None:
    attempts = 0
    second = asyncio.Event()

    @handles(Flood, attempts=1000, backoff=Backoff(base=0.01, cap=0.01))
    async def flood(_: Any, _task: Flood, _delivery: Delivery) -> None:
        nonlocal attempts
        attempts += 1
        if attempts > 60:
            second.set()
        raise OSError("always")

    @handles(Trickle)
    async def trickle(_: Any, _task: Trickle, _delivery: Delivery) -> None: ...

    messages = service_of(flood, trickle, concurrency=2)
    async with database.work() as work:
        for number in range(20):
            await work.enqueue(Flood(number=number))
    await messages.start()
    await asyncio.wait_for(second.wait(), 30)
    async with database.work() as work:
        last = [await work.enqueue(Trickle(number=number)) for number in range(10)]
    await completed(messages, *last)
