"""Who owns a message: cancellation, lost leases, crashes, and draining."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from uuid import UUID

from trenza.chassis.contract import Task
from trenza.chassis.messages import LeaseLost
from trenza.chassis.messages.definitions import Delivery, handles


class Pour(Task, type="test.Pour", key="cup"):
    what: str = "tea"
    cup: str | None = None


async def ended(messages: Any, task_id: UUID) -> Any:
    state = await messages.wait(task_id, timeout=20)
    assert state is not None
    assert state.ended, state
    return state


async def test_a_waiting_task_can_be_cancelled_and_lets_its_key_go_on(service_of: Any, enqueue: Any, effects: Any) -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    @handles(Pour)
    async def pour(_: Any, order: Pour, delivery: Delivery) -> None:
        started.set()
        await gate.wait()
        async with delivery.finish() as work:
            await effects.add(work, order.what)

    messages = service_of(pour)
    await messages.start()
    ids = [await enqueue(Pour(what=str(n), cup="a")) for n in (1, 2, 3)]
    await asyncio.wait_for(started.wait(), 20)
    assert await messages.cancel(ids[1])
    state = await ended(messages, ids[1])
    assert (state.state, state.attempts) == ("cancelled", 0)
    assert not await messages.cancel(ids[1])
    gate.set()
    await ended(messages, ids[2])
    assert not await messages.cancel(ids[2])
    assert await effects.all() == ["1", "3"]


async def test_a_running_task_is_cancelled_at_once(service_of: Any, enqueue: Any) -> None:
    started, cleaned = asyncio.Event(), asyncio.Event()

    @handles(Pour)
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    messages = service_of(pour)
    await messages.start()
    task_id = await enqueue(Pour())
    await asyncio.wait_for(started.wait(), 20)
    assert await messages.cancel(task_id)
    await asyncio.wait_for(cleaned.wait(), 1)
    assert (await ended(messages, task_id)).state == "cancelled"


async def test_another_process_cancels_and_the_finish_is_refused(service_of: Any, enqueue: Any, effects: Any) -> None:
    started, refused = asyncio.Event(), asyncio.Event()

    @handles(Pour)
    async def pour(_: Any, order: Pour, delivery: Delivery) -> None:
        started.set()
        with contextlib.suppress(asyncio.CancelledError):  # it will not listen
            await asyncio.Event().wait()
        try:
            async with delivery.finish() as work:
                await effects.add(work, order.what)
        except LeaseLost:
            refused.set()
            raise

    messages = service_of(pour)
    await messages.start()
    elsewhere = service_of(pour)  # never started: the command line, or another replica
    task_id = await enqueue(Pour())
    await asyncio.wait_for(started.wait(), 20)
    assert await elsewhere.cancel(task_id)
    await asyncio.wait_for(refused.wait(), 20)
    assert (await ended(messages, task_id)).state == "cancelled"
    assert await effects.all() == []


async def test_a_heartbeat_sees_that_another_process_has_cancelled(service_of: Any, enqueue: Any) -> None:
    started = asyncio.Event()

    @handles(Pour)
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        started.set()
        await asyncio.Event().wait()

    messages, elsewhere = service_of(pour), service_of(pour)
    await messages.start()
    task_id = await enqueue(Pour())
    await asyncio.wait_for(started.wait(), 20)
    assert await elsewhere.cancel(task_id)
    await messages.beat()
    assert (await ended(messages, task_id)).state == "cancelled"


async def test_a_lost_lease_goes_to_another_worker_and_the_stale_finish_is_refused(
    service_of: Any, enqueue: Any, effects: Any, clock: Any
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()
    refused = asyncio.Event()

    @handles(Pour)
    async def pour(worker: str, order: Pour, delivery: Delivery) -> None:
        if worker == "stalled":
            started.set()
            await go_on.wait()
        try:
            async with delivery.finish() as work:
                await effects.add(work, f"{worker} {order.what} {delivery.attempt}")
        except LeaseLost:
            refused.set()
            raise

    stalled, successor = service_of(pour, clock=clock), service_of(pour, clock=clock)
    await stalled.start("stalled")
    task_id = await enqueue(Pour(cup="a"))
    stalled.wake()
    await asyncio.wait_for(started.wait(), 20)
    await successor.start("successor")
    assert (await successor.wait(task_id, timeout=0.1)).state == "running"
    clock.advance(31)
    successor.wake()
    assert (await ended(successor, task_id)).attempts == 2
    go_on.set()
    await asyncio.wait_for(refused.wait(), 20)
    assert await effects.all() == ["successor tea 2"]


async def test_a_heartbeat_keeps_the_lease(service_of: Any, enqueue: Any, clock: Any) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @handles(Pour)
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        started.set()
        await go_on.wait()

    messages, other = service_of(pour, clock=clock), service_of(pour, clock=clock)
    await messages.start()
    task_id = await enqueue(Pour())
    messages.wake()
    await asyncio.wait_for(started.wait(), 20)
    await other.start()
    for _ in range(4):
        clock.advance(20)
        await messages.beat()
        other.wake()
        await other.wait(task_id, timeout=0.05)
    go_on.set()
    assert (await ended(messages, task_id)).attempts == 1


async def test_a_worker_that_finds_its_lease_gone_stops_the_handler(service_of: Any, enqueue: Any, clock: Any) -> None:
    first = asyncio.Event()
    stopped = asyncio.Event()

    @handles(Pour)
    async def pour(worker: str, _order: Pour, _delivery: Delivery) -> None:
        if worker == "stalled":
            first.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

    stalled, successor = service_of(pour, clock=clock), service_of(pour, clock=clock)
    await stalled.start("stalled")
    task_id = await enqueue(Pour())
    stalled.wake()
    await asyncio.wait_for(first.wait(), 20)
    clock.advance(31)
    await successor.start("successor")
    await ended(successor, task_id)
    await stalled.beat()
    await asyncio.wait_for(stopped.wait(), 5)


async def test_a_crash_at_the_last_attempt_is_counted_and_ends_in_a_dead_letter(
    service_of: Any, enqueue: Any, clock: Any
) -> None:
    calls = asyncio.Semaphore(0)

    @handles(Pour, attempts=2, blocks_key=True)
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        calls.release()
        await asyncio.Event().wait()

    first, second, third = (service_of(pour, clock=clock) for _ in range(3))
    task_id = await enqueue(Pour(cup="a"))
    for doomed in (first, second):  # each hangs in the handler, as if its process were gone
        await doomed.start()
        await asyncio.wait_for(calls.acquire(), 20)
        clock.advance(31)
    await third.start()
    state = await ended(third, task_id)
    assert (state.state, state.attempts) == ("failed", 2)
    (letter,) = await third.dead_letters.show(task_id)
    assert (letter.reason, letter.blocks_key) == ("attempts_exhausted", True)
    assert calls.locked(), "the handler must not run a third time"


async def test_drain_lets_running_work_end_and_releases_the_rest_without_counting(
    service_of: Any, database: Any, effects: Any
) -> None:
    both_run, quick_may_end = asyncio.Semaphore(0), asyncio.Event()

    @handles(Pour)
    async def pour(_: Any, order: Pour, delivery: Delivery) -> None:
        both_run.release()
        if order.what == "quick":
            await quick_may_end.wait()
        else:
            await asyncio.Event().wait()
        async with delivery.finish() as work:
            await effects.add(work, order.what)

    messages = service_of(pour, concurrency=2)
    async with database.work() as work:
        quick, slow, never_begun = [await work.enqueue(Pour(what=what)) for what in ("quick", "slow", "later")]
    await messages.start()
    for _ in range(2):
        await asyncio.wait_for(both_run.acquire(), 20)
    draining = asyncio.create_task(messages.drain(0.5))
    await asyncio.sleep(0.05)
    quick_may_end.set()
    await asyncio.wait_for(draining, 10)
    assert (await messages.find(quick)).state == "completed"
    for task_id in (slow, never_begun):
        state = await messages.find(task_id)
        assert (state.state, state.attempts) == ("waiting", 0)
    assert await effects.all() == ["quick"]
    await messages.drain(1)  # again: nothing happens


async def test_drain_does_not_wait_for_the_deaf(service_of: Any, enqueue: Any, effects: Any) -> None:
    started, go_on, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @handles(Pour)
    async def pour(_: Any, order: Pour, delivery: Delivery) -> None:
        started.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        try:
            async with delivery.finish() as work:
                await effects.add(work, order.what)
        finally:
            over.set()

    messages = service_of(pour)
    await messages.start()
    task_id = await enqueue(Pour())
    await asyncio.wait_for(started.wait(), 20)
    await asyncio.wait_for(messages.drain(0), 10)
    state = await messages.find(task_id)
    assert (state.state, state.attempts) == ("waiting", 0)
    go_on.set()
    await asyncio.wait_for(over.wait(), 5)
    assert await effects.all() == []
