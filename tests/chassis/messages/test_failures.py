"""What happens when a handler fails, hangs, is cancelled, or loses its message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from trenza.chassis.contract import CallFailed, Task
from trenza.chassis.data import Database, DatabaseUnavailable, UnitOfWork
from trenza.chassis.messages.definitions import Backoff, Delivery, Postpone, Reject, Retry, handles

AT_ONCE = Backoff(base=0.0)


class Pour(Task, type="test.Pour", key="cup"):
    what: str = "tea"
    cup: str | None = None


async def ended(messages: Any, task_id: UUID) -> Any:
    state = await messages.wait(task_id, timeout=20)
    assert state is not None
    assert state.ended, state
    return state


def told(logged: Sequence[MutableMapping[str, Any]]) -> list[tuple[str, int]]:
    """The dead letters of which the log tells: why, and after how many attempts."""
    return [(line["reason"], line["attempts"]) for line in logged if line["event"] == "dead letter"]


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


@pytest.mark.parametrize(
    ("raised", "error", "is_a_fault"),
    [
        (Retry("the tap is closed"), "the tap is closed", False),
        (CallFailed("kitchen", "boil", "nobody answers"), "CallFailed: kitchen.boil: nobody answers", False),
        (OSError("spilt"), "OSError: spilt", True),
    ],
)
async def test_an_attempt_that_was_to_be_expected_to_fail_is_told_without_its_traceback(
    service_of: Any, enqueue: Any, raised: Exception, error: str, *, is_a_fault: bool
) -> None:
    @handles(Pour, attempts=2, backoff=AT_ONCE)
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        raise raised

    messages = service_of(pour)
    with capture_logs() as logged:
        await messages.start()
        state = await ended(messages, await enqueue(Pour()))
    assert (state.state, state.attempts, state.error) == ("failed", 2, error)
    lines = [line for line in logged if line["event"] == "attempt failed"]
    assert len(lines) == 2
    assert ["exc_info" in line for line in lines] == [is_a_fault] * 2


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


async def test_a_stale_message_becomes_a_dead_letter(service_of: Any, enqueue: Any, clock: Any) -> None:
    @handles(Pour)
    async def pour(_: Any, _order: Pour, _delivery: Delivery) -> None:
        raise AssertionError("it is too late for this one")

    messages = service_of(pour, clock=clock)
    task_id = await enqueue(Pour(), deliver_within=timedelta(minutes=5))
    clock.advance(301)
    with capture_logs() as logged:
        await messages.start()
        state = await ended(messages, task_id)
    assert (state.state, state.attempts) == ("failed", 0)
    (letter,) = await messages.dead_letters.show(task_id)
    assert told(logged) == [("expired", 0)] == [(letter.reason, letter.attempts)]


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
    with capture_logs() as logged:
        await messages.start()
        await ended(messages, task_id)
    (letter,) = await messages.dead_letters.show(task_id)
    assert told(logged) == [("unreadable", 0)] == [(letter.reason, letter.attempts)]
    assert letter.error == "the data do not fit test.Pour: what: Input should be a valid string"


class Leaving(Database):
    """A database that can be away for those who want to write."""

    away = False

    def __init__(self, url: URL) -> None:
        super().__init__(url, schema="test")
        self.refusals = asyncio.Semaphore(0)

    @asynccontextmanager
    async def work(self, *, durable: bool = True) -> AsyncIterator[UnitOfWork]:
        if self.away:
            self.refusals.release()
            raise DatabaseUnavailable("it is away")
        async with super().work(durable=durable) as work:
            yield work


@pytest.mark.parametrize("writes", [True, False], ids=["writes", "only_reads"])
async def test_what_ends_while_the_database_is_away_is_recorded_when_it_is_back(
    writes: bool,  # noqa: FBT001 - a parameter of the test
    service_of: Any,
    database: Database,
) -> None:
    """Not only when its lease of 30 seconds has run out."""
    leaving, begun, go_on = Leaving(database.url), asyncio.Event(), asyncio.Event()

    @handles(Pour, backoff=AT_ONCE)
    async def pour(_: Any, _order: Pour, delivery: Delivery) -> None:
        begun.set()
        await go_on.wait()
        if writes:
            async with delivery.finish():
                pass

    messages = service_of(pour, on=leaving)
    await messages.start()
    async with leaving.work() as work:
        task_id = await work.enqueue(Pour())
    await asyncio.wait_for(begun.wait(), 20)
    leaving.away = True
    go_on.set()
    for _ in range(4):
        await asyncio.wait_for(leaving.refusals.acquire(), 20)
    leaving.away = False
    state = await ended(messages, task_id)
    assert (state.state, state.attempts) == ("completed", 2 if writes else 1)
    await messages.drain(1)
    await leaving.close()


async def test_a_drain_ends_while_the_database_is_away(service_of: Any, database: Database) -> None:
    """It cannot give back what a handler holds that does not listen to cancellation."""
    leaving, begun, go_on = Leaving(database.url), asyncio.Event(), asyncio.Event()

    @handles(Pour)
    async def pour(*_: Any) -> None:
        begun.set()
        while not go_on.is_set():
            with suppress(asyncio.CancelledError):
                await go_on.wait()

    messages = service_of(pour, on=leaving)
    await messages.start()
    async with leaving.work() as work:
        task_id = await work.enqueue(Pour())
    await asyncio.wait_for(begun.wait(), 20)
    leaving.away = True
    try:
        await asyncio.wait_for(messages.drain(0), 20)
    finally:
        leaving.away = False
        go_on.set()
    assert (await ended(messages, task_id)).state == "completed"
    await leaving.close()
