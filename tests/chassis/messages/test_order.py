"""In which order messages are handled: keys, consumers, priorities, delays, bounds."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from trenza.chassis.contract import Task
from trenza.chassis.messages.definitions import Delivery, handles


class Print(Task, type="test.Print", key="tray"):
    text: str
    tray: str | None = None


class Sweep(Task, type="test.Sweep"):
    number: int = 0


async def ended(messages: Any, task_id: UUID) -> Any:
    state = await messages.wait(task_id, timeout=20)
    assert state is not None
    assert state.ended, state
    return state


async def test_messages_of_one_key_are_handled_in_order_and_keys_side_by_side(
    service_of: Any, effects: Any, database: Any
) -> None:
    at_once, most = 0, 0

    @handles(Print)
    async def print_page(_: Any, order: Print, delivery: Delivery) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        async with delivery.finish() as work:
            await effects.add(work, f"{order.tray}{order.text}")
        at_once -= 1

    messages = service_of(print_page)
    async with database.work() as work:
        ids = [await work.enqueue(Print(text=f"{n:02}", tray=tray)) for n in range(12) for tray in "abcd"]
    await messages.start()
    for task_id in ids:
        await ended(messages, task_id)
    traces = await effects.all()
    for tray in "abcd":
        assert [trace for trace in traces if trace[0] == tray] == [f"{tray}{n:02}" for n in range(12)]
    assert len(traces) == 48
    assert 1 < most <= 4


async def test_two_workers_share_the_work_and_keep_the_order(service_of: Any, effects: Any, database: Any) -> None:
    running: set[str] = set()

    @handles(Print)
    async def print_page(_: Any, order: Print, delivery: Delivery) -> None:
        assert order.tray not in running, "two messages of one key at once"
        running.add(str(order.tray))
        await asyncio.sleep(0.001)
        running.remove(str(order.tray))
        async with delivery.finish() as work:
            await effects.add(work, f"{order.tray}{order.text}")

    first, second = service_of(print_page, concurrency=3), service_of(print_page, concurrency=3)
    await first.start()
    await second.start()
    ids = []
    for n in range(15):
        async with database.work() as work:
            ids += [await work.enqueue(Print(text=f"{n:02}", tray=tray)) for tray in "abc"]
        first.wake()
    for task_id in ids:
        await ended(second, task_id)
    traces = await effects.all()
    assert len(traces) == 45
    for tray in "abc":
        assert [trace for trace in traces if trace[0] == tray] == [f"{tray}{n:02}" for n in range(15)]


async def test_handlers_of_several_types_under_one_consumer_keep_one_order(service_of: Any, effects: Any, database: Any) -> None:
    class Erase(Task, type="test.Erase", key="tray"):
        tray: str

    @handles(Print, consumer="trays")
    async def print_page(_: Any, order: Print, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, f"print {order.text}")

    @handles(Erase, consumer="trays")
    async def erase(_: Any, _order: Erase, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, "erase")

    messages = service_of(print_page, erase)
    async with database.work() as work:
        await work.enqueue(Print(text="1", tray="a"))
        await work.enqueue(Erase(tray="a"))
        last = await work.enqueue(Print(text="2", tray="a"))
    await messages.start()
    await ended(messages, last)
    assert await effects.all() == ["print 1", "erase", "print 2"]


async def test_higher_priority_runs_first(service_of: Any, effects: Any, database: Any) -> None:
    @handles(Sweep)
    async def sweep(_: Any, order: Sweep, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, str(order.number))

    messages = service_of(sweep, concurrency=1)
    async with database.work() as work:
        ids = [await work.enqueue(Sweep(number=n), priority=p) for n, p in ((1, -5), (2, 0), (3, 9), (4, 0))]
    await messages.start()
    for task_id in ids:
        await ended(messages, task_id)
    assert await effects.all() == ["3", "2", "4", "1"]


async def test_a_delayed_task_waits_for_its_time_and_lets_others_of_its_key_pass(
    service_of: Any, effects: Any, database: Any, clock: Any
) -> None:
    @handles(Print)
    async def print_page(_: Any, order: Print, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, order.text)

    messages = service_of(print_page, clock=clock)
    await messages.start()
    async with database.work() as work:
        late = await work.enqueue(Print(text="late", tray="a"), delay=timedelta(hours=1))
        soon = await work.enqueue(Print(text="soon", tray="a"))
    await ended(messages, soon)
    assert (await messages.find(late)).state == "waiting"
    clock.advance(3599)
    messages.wake()
    assert (await messages.wait(late, timeout=0.2)).state == "waiting"
    clock.advance(1)
    messages.wake()
    await ended(messages, late)
    assert await effects.all() == ["soon", "late"]


async def test_a_short_delay_needs_nobody_to_ring(service_of: Any, enqueue: Any) -> None:
    @handles(Sweep)
    async def sweep(_: Any, _order: Sweep, _delivery: Delivery) -> None:
        pass

    messages = service_of(sweep)
    await messages.start()
    task_id = await enqueue(Sweep(), delay=timedelta(milliseconds=300))
    state = await ended(messages, task_id)
    assert 0.3 <= (state.finished_at - state.created_at).total_seconds() < 1.5


async def test_one_handler_is_bounded_by_its_own_concurrency(service_of: Any, database: Any) -> None:
    at_once = most = 0

    @handles(Sweep, concurrency=2)
    async def sweep(_: Any, _order: Sweep, _delivery: Delivery) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.002)
        at_once -= 1

    printed = asyncio.Event()

    @handles(Print)
    async def print_page(_: Any, _order: Print, _delivery: Delivery) -> None:
        printed.set()

    messages = service_of(sweep, print_page)
    async with database.work() as work:
        ids = [await work.enqueue(Sweep(number=n)) for n in range(20)]
        ids.append(await work.enqueue(Print(text="behind them all")))
    await messages.start()
    await asyncio.wait_for(printed.wait(), 5)
    for task_id in ids:
        await ended(messages, task_id)
    assert most == 2
