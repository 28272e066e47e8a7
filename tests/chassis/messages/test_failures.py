"""What happens when a handler fails, hangs, is cancelled, or loses its message."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from trenza.chassis.contract import Task
from trenza.chassis.messages import LeaseLost
from trenza.chassis.messages.definitions import Backoff, Delivery, Postpone, Reject, handles

AT_ONCE = Backoff(base=0.0)


class Pour(Task, type="test.Pour", key="cup"):
    what: str = "tea"
    cup: str | None = None


async def ended(messages: Any, task_id: UUID) -> Any:
    state = await messages.wait(task_id, timeout=20)
    assert state is not None
    assert state.ended, state
    return state


async def test_a_failing_handler_is_tried_again_until_it_does(service_of: Any, enqueue: Any, effects: Any) -> None:
    attempts = []

    @handles(Pour, attempts=3, backoff=AT_ONCE)
    async def pour(_: Any, order: Pour, delivery: Delivery) -> None:
        attempts.append((delivery.attempt, delivery.last_attempt))
        async with delivery.finish() as work:
            await effects.add(work, order.what)
            if delivery.attempt < 3:
                raise OSError("the kettle is cold")

    messages = service_of(pour)
    await messages.start()
    state = await ended(messages, await enqueue(Pour()))
    assert (state.state, state.attempts, state.error) == ("completed", 3, "OSError: the kettle is cold")
    assert attempts == [(1, False), (2, False), (3, True)]
    assert await effects.all() == ["tea"]


async def test_what_fails_every_time_becomes_a_dead_letter_that_can_be_redriven_and_discarded(
    service_of: Any, enqueue: Any, effects: Any
) -> None:
    broken = True

    @handles(Pour, attempts=2, backoff=AT_ONCE)
    async def pour(_: Any, order: Pour, delivery: Delivery) -> None:
        if broken:
            raise OSError("no water\x00")
        async with delivery.finish() as work:
            await effects.add(work, order.what)

    messages = service_of(pour)
    await messages.start()
    tea, milk = await enqueue(Pour(what="tea")), await enqueue(Pour(what="milk"))
    for task_id in (tea, milk):
        state = await ended(messages, task_id)
        assert (state.state, state.attempts, state.error) == ("failed", 2, "OSError: no water\\x00")

    letters = messages.dead_letters
    page = await letters.list(limit=1)
    assert [letter.id for letter in page.letters] == [tea]
    rest = await letters.list(cursor=page.cursor)
    assert [letter.id for letter in rest.letters] == [milk]
    (letter,) = await letters.show(tea)
    assert (letter.reason, letter.consumer, letter.type, letter.attempts) == ("attempts_exhausted", "pour", "test.Pour", 2)
    assert '"what":"tea"' in letter.envelope
    assert await letters.list(type="test.Other") == type(page)(letters=(), cursor=None)

    assert await letters.discard(ids=[milk]) == 1
    broken = False
    assert await letters.redrive() == 1
    messages.wake()
    assert (await ended(messages, tea)).state == "completed"
    assert (await messages.find(milk)).state == "failed"
    assert await effects.all() == ["tea"]
    assert (await letters.list()).letters == ()
    assert await letters.show(milk) == ()


async def test_a_redriven_task_does_not_break_a_unique_key(service_of: Any, enqueue: Any) -> None:
    gate = asyncio.Event()

    @handles(Pour, attempts=1)
    async def pour(_: Any, order: Pour, _delivery: Delivery) -> None:
        if order.what == "bad":
            raise OSError("spilt")
        await gate.wait()

    messages = service_of(pour)
    await messages.start()
    bad = await enqueue(Pour(what="bad"), unique_key="table")
    await ended(messages, bad)
    good = await enqueue(Pour(what="good"), unique_key="table")
    assert await messages.dead_letters.redrive(type="test.Pour") == 0
    gate.set()
    await ended(messages, good)
    assert await messages.dead_letters.redrive(ids=[bad]) == 1


async def test_reject_makes_a_dead_letter_at_once(service_of: Any, enqueue: Any) -> None:
    @handles(Pour, attempts=5)
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        raise Reject("the cup has no bottom")

    messages = service_of(pour)
    await messages.start()
    task_id = await enqueue(Pour())
    state = await ended(messages, task_id)
    assert (state.state, state.attempts, state.error) == ("failed", 1, "the cup has no bottom")
    assert (await messages.dead_letters.show(task_id))[0].reason == "rejected"


async def test_postpone_costs_no_attempt(service_of: Any, enqueue: Any, clock: Any) -> None:
    seen = []
    called = asyncio.Semaphore(0)

    @handles(Pour, attempts=1)
    async def pour(_: Any, _order: Pour, delivery: Delivery) -> None:
        seen.append(delivery.attempt)
        called.release()
        if len(seen) < 3:
            raise Postpone("the kettle is taken", seconds=60)

    messages = service_of(pour, clock=clock)
    await messages.start()
    task_id = await enqueue(Pour())
    for _ in range(2):
        await asyncio.wait_for(called.acquire(), 20)
        await messages.wait(task_id, timeout=0.1)
        state = await messages.find(task_id)
        assert (state.state, state.attempts, state.note) == ("waiting", 0, "the kettle is taken")
        clock.advance(60)
        messages.wake()
    assert (await ended(messages, task_id)).state == "completed"
    assert seen == [1, 1, 1]


async def test_retries_back_off(service_of: Any, enqueue: Any, clock: Any) -> None:
    called = asyncio.Semaphore(0)

    @handles(Pour, attempts=3, backoff=Backoff(base=10, factor=2, cap=15))
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        called.release()
        raise OSError("cold")

    messages = service_of(pour, clock=clock)
    await messages.start()
    task_id = await enqueue(Pour())
    for most in (10, 15):
        await asyncio.wait_for(called.acquire(), 20)
        await messages.wait(task_id, timeout=0.1)
        clock.advance(0.99)  # the floor is a tenth of the ceiling
        messages.wake()
        await messages.wait(task_id, timeout=0.1)
        assert called.locked(), "tried again before the backoff's floor"
        clock.advance(most)
        messages.wake()
    assert (await ended(messages, task_id)).attempts == 3


async def test_a_handler_that_takes_too_long_is_stopped_and_counted(service_of: Any, enqueue: Any) -> None:
    @handles(Pour, attempts=1, timeout=0.05)
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        await asyncio.Event().wait()

    messages = service_of(pour)
    await messages.start()
    state = await ended(messages, await enqueue(Pour()))
    assert (state.state, state.error) == ("failed", "TimeoutError: the handler took longer than 0.05 s")


async def test_a_cancellation_inside_the_handler_is_a_failure_like_any_other(service_of: Any, enqueue: Any) -> None:
    @handles(Pour, attempts=1)
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        helper = asyncio.create_task(asyncio.sleep(10))
        helper.cancel()
        await helper

    messages = service_of(pour)
    await messages.start()
    state = await ended(messages, await enqueue(Pour()))
    assert (state.state, state.attempts) == ("failed", 1)
    assert "cancelled" in state.error


async def test_what_fails_after_the_end_does_not_undo_it(service_of: Any, enqueue: Any, effects: Any) -> None:
    @handles(Pour, attempts=3, backoff=AT_ONCE)
    async def pour(_: Any, order: Pour, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, order.what)
        with pytest.raises(RuntimeError, match="call it once"):
            async with delivery.finish():
                pass
        raise OSError("after the end")

    messages = service_of(pour)
    await messages.start()
    assert (await ended(messages, await enqueue(Pour()))).state == "completed"
    assert await effects.all() == ["tea"]


@pytest.mark.parametrize("blocks", [False, True])
async def test_a_dead_letter_lets_its_key_go_on_or_holds_it(
    service_of: Any,
    enqueue: Any,
    effects: Any,
    blocks: bool,  # noqa: FBT001 - pytest's parameter
) -> None:
    @handles(Pour, attempts=1, blocks_key=blocks)
    async def pour(_: Any, order: Pour, delivery: Delivery) -> None:
        if order.what == "bad":
            raise OSError("spilt")
        async with delivery.finish() as work:
            await effects.add(work, f"{order.cup} {order.what}")

    messages = service_of(pour)
    await messages.start()
    bad = await enqueue(Pour(what="bad", cup="a"))
    behind = await enqueue(Pour(what="tea", cup="a"))
    beside = await enqueue(Pour(what="tea", cup="b"))
    await ended(messages, bad)
    await ended(messages, beside)
    if blocks:
        assert (await messages.wait(behind, timeout=0.2)).state == "waiting"
        assert (await messages.dead_letters.show(bad))[0].blocks_key
        assert await messages.dead_letters.discard(ids=[bad]) == 1
        messages.wake()
    await ended(messages, behind)
    assert sorted(await effects.all()) == ["a tea", "b tea"]


async def test_a_failing_message_keeps_its_place_in_the_order(service_of: Any, database: Any, effects: Any) -> None:
    @handles(Pour, attempts=3, backoff=AT_ONCE)
    async def pour(_: Any, order: Pour, delivery: Delivery) -> None:
        if order.what == "1" and delivery.attempt < 3:
            raise OSError("slippery")
        async with delivery.finish() as work:
            await effects.add(work, order.what)

    messages = service_of(pour)
    async with database.work() as work:
        ids = [await work.enqueue(Pour(what=str(n), cup="a")) for n in (1, 2, 3)]
    await messages.start()
    for task_id in ids:
        await ended(messages, task_id)
    assert await effects.all() == ["1", "2", "3"]


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


async def test_another_process_cancels_by_heartbeat_and_the_finish_is_refused(
    service_of: Any, enqueue: Any, effects: Any
) -> None:
    started, go_on, refused = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @handles(Pour)
    async def pour(_: Any, order: Pour, delivery: Delivery) -> None:
        started.set()
        await go_on.wait()
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
    go_on.set()
    await asyncio.wait_for(refused.wait(), 20)
    assert (await ended(messages, task_id)).state == "cancelled"
    assert await effects.all() == []

    started.clear()
    go_on.clear()
    task_id = await enqueue(Pour())
    messages.wake()
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


async def test_a_stale_message_becomes_a_dead_letter(service_of: Any, enqueue: Any, clock: Any) -> None:
    @handles(Pour)
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        raise AssertionError("it is too late for this one")

    messages = service_of(pour, clock=clock)
    task_id = await enqueue(Pour(), deliver_within=timedelta(minutes=5))
    clock.advance(301)
    await messages.start()
    state = await ended(messages, task_id)
    assert (state.state, state.attempts) == ("failed", 0)
    assert (await messages.dead_letters.show(task_id))[0].reason == "expired"


async def test_a_payload_that_no_longer_fits_becomes_a_dead_letter(service_of: Any, enqueue: Any) -> None:
    class OldPour(Task, type="test.Pour"):
        what: tuple[str, ...] = ("tea", "milk")

    @handles(OldPour, consumer="pour")
    async def old_pour(_: Any, _order: OldPour, _delivery: Delivery) -> None:
        pass

    @handles(Pour, consumer="pour")
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        raise AssertionError("it cannot be read")

    service_of(old_pour)
    task_id = await enqueue(OldPour())
    messages = service_of(pour)
    await messages.start()
    await ended(messages, task_id)
    (letter,) = await messages.dead_letters.show(task_id)
    assert (letter.reason, letter.attempts) == ("unreadable", 0)
    assert letter.error is not None
    assert "what" in letter.error
