"""Tasks and events that go well: order, priority, delay, uniqueness, progress, waiting, context."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from trenza.chassis.context import Context, Principal, current_context, use_context
from trenza.chassis.contract import Event, Task
from trenza.chassis.data import NestedUnitOfWork
from trenza.chassis.messages.definitions import Delivery, handles, reacts
from trenza.chassis.messages.envelope import MessageTooLarge
from trenza.chassis.messages.tables import inbox, outbox


class Print(Task, type="test.Print", key="tray"):
    text: str
    tray: str | None = None


class Sweep(Task, type="test.Sweep"):
    number: int = 0


class Printed(Event, type="test.Printed", key="text"):
    text: str


async def ended(messages: Any, task_id: UUID) -> Any:
    state = await messages.wait(task_id, timeout=20)
    assert state is not None
    assert state.ended, state
    return state


async def test_a_task_runs_after_the_commit_and_its_effect_commits_with_the_mark(
    service_of: Any, effects: Any, enqueue: Any
) -> None:
    @handles(Print)
    async def print_page(implementation: str, order: Print, delivery: Delivery) -> None:
        assert implementation == "the printer"
        assert (delivery.attempt, delivery.last_attempt) == (1, False)
        async with delivery.finish() as work:
            await effects.add(work, order.text)

    messages = service_of(print_page)
    await messages.start("the printer")
    task_id = await enqueue(Print(text="hola"))
    state = await ended(messages, task_id)
    assert (state.state, state.attempts, state.progress, state.type) == ("completed", 1, 1.0, "test.Print")
    assert state.created_at <= state.finished_at
    assert await effects.all() == ["hola"]


async def test_an_event_reaches_every_reaction_once(service_of: Any, effects: Any, database: Any) -> None:
    done = asyncio.Semaphore(0)

    async def note(who: str, event: Printed, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, f"{who} {event.text}")
        done.release()

    @reacts(Printed)
    async def bill(_: Any, event: Printed, delivery: Delivery) -> None:
        await note("bill", event, delivery)

    @reacts(Printed)
    async def ship(_: Any, event: Printed, delivery: Delivery) -> None:
        await note("ship", event, delivery)

    messages = service_of(bill, ship)
    await messages.start()
    async with database.work() as work:
        await work.publish(Printed(text="a"))
    for _ in range(2):
        await asyncio.wait_for(done.acquire(), 20)
    assert sorted(await effects.all()) == ["bill a", "ship a"]


async def test_a_message_published_twice_by_the_transport_takes_effect_once(service_of: Any, effects: Any, database: Any) -> None:
    done = asyncio.Event()

    @reacts(Printed)
    async def bill(_: Any, event: Printed, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, event.text)
        if event.text == "last":
            done.set()

    messages = service_of(bill)
    async with database.work() as work:
        await work.publish(Printed(text="first"))
        await work.publish(Printed(text="last"))
    async with database.read() as connection:
        bodies = (await connection.execute(sa.select(outbox.c.envelope).order_by(outbox.c.position))).scalars().all()
    await messages.receive([bodies[0], bodies[0]])
    await messages.receive([bodies[0]])
    await messages.start()
    await asyncio.wait_for(done.wait(), 20)
    await messages.receive([bodies[0]])
    assert sorted(await effects.all()) == ["first", "last"]
    async with database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(inbox)) == 2


async def test_what_is_rolled_back_was_never_said(service_of: Any, database: Any) -> None:
    @handles(Sweep)
    async def sweep(_: Any, _order: Sweep, _delivery: Delivery) -> None:
        raise AssertionError("this task was never committed")

    messages = service_of(sweep)
    await messages.start()
    task_ids = []

    async def change_my_mind() -> None:
        async with database.work() as work:
            task_ids.append(await work.enqueue(Sweep()))
            await work.publish(Printed(text="x"))
            raise LookupError("changed my mind")

    with pytest.raises(LookupError, match="changed my mind"):
        await change_my_mind()
    assert await messages.find(task_ids[0]) is None
    async with database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(outbox)) == 0


async def test_a_unique_key_is_unique_while_unfinished(service_of: Any, enqueue: Any, database: Any) -> None:
    gate = asyncio.Event()

    @handles(Sweep)
    async def sweep(_: Any, _order: Sweep, _delivery: Delivery) -> None:
        await gate.wait()

    messages = service_of(sweep)
    await messages.start()
    first = await enqueue(Sweep(number=1), unique_key="floor")
    assert await enqueue(Sweep(number=2), unique_key="floor") == first
    assert await enqueue(Sweep(number=3), unique_key="roof") != first
    async with database.work() as work:  # twice in one unit of work
        attic = await work.enqueue(Sweep(number=4), unique_key="attic")
        assert await work.enqueue(Sweep(number=5), unique_key="attic") == attic
    gate.set()
    await ended(messages, first)
    again = await enqueue(Sweep(number=6), unique_key="floor")
    assert again != first
    await ended(messages, again)


async def test_concurrent_enqueues_of_a_unique_key_agree(service_of: Any, enqueue: Any) -> None:
    @handles(Sweep)
    async def sweep(_: Any, _order: Sweep, _delivery: Delivery) -> None:
        pass

    service_of(sweep)
    ids = await asyncio.gather(*(enqueue(Sweep(number=n), unique_key="floor") for n in range(10)))
    assert len(set(ids)) == 1


async def test_a_handler_has_the_context_of_whoever_caused_its_message(service_of: Any, enqueue: Any) -> None:
    seen: list[Context] = []

    @handles(Sweep, timeout=7)
    async def sweep(_: Any, _order: Sweep, _delivery: Delivery) -> None:
        seen.append(current_context())
        assert 6 < (current_context().remaining() or 0) <= 7

    messages = service_of(sweep)
    await messages.start()
    ana = Principal(subject="ana", kind="user", scopes=("photos:editor", "photos:viewer"))
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with use_context(Context(correlation_id="from-the-edge", principal=ana, traceparent=traceparent)):
        task_id = await enqueue(Sweep())
    await ended(messages, task_id)
    assert (seen[0].correlation_id, seen[0].principal, seen[0].traceparent) == ("from-the-edge", ana, traceparent)


async def test_progress_is_seen_and_throttled(service_of: Any, enqueue: Any) -> None:
    half, go_on = asyncio.Event(), asyncio.Event()

    @handles(Sweep)
    async def sweep(_: Any, _order: Sweep, delivery: Delivery) -> None:
        await delivery.progress(0.5, "half of the floor")
        await delivery.progress(0.6, "too soon to be written")
        half.set()
        await go_on.wait()
        with pytest.raises(ValueError, match="from 0 to 1"):
            await delivery.progress(60)

    messages = service_of(sweep)
    await messages.start()
    task_id = await enqueue(Sweep())
    await asyncio.wait_for(half.wait(), 20)
    state = await messages.find(task_id)
    assert (state.state, state.progress, state.note, state.ended) == ("running", 0.5, "half of the floor", False)
    go_on.set()
    assert (await ended(messages, task_id)).progress == 1.0


async def test_wait_gives_up_after_its_timeout_and_knows_unknown_tasks(service_of: Any, enqueue: Any) -> None:
    gate = asyncio.Event()

    @handles(Sweep)
    async def sweep(_: Any, _order: Sweep, _delivery: Delivery) -> None:
        await gate.wait()

    messages = service_of(sweep)
    await messages.start()
    task_id = await enqueue(Sweep())
    assert (await messages.wait(task_id, timeout=0.1)).state in ("waiting", "running")
    assert await messages.wait(uuid4(), timeout=5) is None
    assert await messages.find(uuid4()) is None
    gate.set()


async def test_the_list_of_tasks_is_paged_newest_first(service_of: Any, enqueue: Any) -> None:
    @handles(Sweep)
    async def sweep(_: Any, _order: Sweep, _delivery: Delivery) -> None:
        pass

    messages = service_of(sweep)
    ids = [await enqueue(Sweep(number=n)) for n in range(5)]
    await messages.cancel(ids[2])
    first = await messages.list(limit=2)
    second = await messages.list(limit=2, cursor=first.cursor)
    third = await messages.list(limit=2, cursor=second.cursor)
    assert [task.id for page in (first, second, third) for task in page.tasks] == ids[::-1]
    assert third.cursor is None
    assert [task.id for task in (await messages.list(state="cancelled")).tasks] == [ids[2]]
    with pytest.raises(ValueError, match="invalid literal"):
        await messages.list(cursor="x")


async def test_nothing_escapes_an_open_unit_of_work(service_of: Any, database: Any) -> None:
    @handles(Sweep)
    async def sweep(_: Any, _order: Sweep, _delivery: Delivery) -> None:
        pass

    messages = service_of(sweep)
    async with database.work() as work:
        task_id = await work.enqueue(Sweep())
        with pytest.raises(NestedUnitOfWork):
            await messages.wait(task_id, timeout=1)
        with pytest.raises(NestedUnitOfWork):
            await messages.cancel(task_id)
        with pytest.raises(NestedUnitOfWork):
            async with database.work():
                pass
        with pytest.raises(NestedUnitOfWork):
            async with database.read():
                pass
    assert (await messages.find(task_id)).state == "waiting"


async def test_a_task_without_handler_and_a_giant_are_refused_when_written(service_of: Any, database: Any) -> None:
    @handles(Print)
    async def print_page(_: Any, _order: Print, _delivery: Delivery) -> None:
        pass

    service_of(print_page)
    async with database.work() as work:
        with pytest.raises(LookupError, match=r"no handler of test\.Sweep"):
            await work.enqueue(Sweep())
        with pytest.raises(MessageTooLarge, match="put the bulk into an object"):
            await work.enqueue(Print(text="x" * 5_000_000))
        with pytest.raises(MessageTooLarge):
            await work.publish(Printed(text="x" * 5_000_000))


async def test_step_keys_repeat_by_message_and_differ_by_step(service_of: Any, enqueue: Any) -> None:
    keys: list[tuple[str, str]] = []

    @handles(Sweep)
    async def sweep(_: Any, _order: Sweep, delivery: Delivery) -> None:
        keys.append((delivery.step_key("pay"), delivery.step_key("mail")))
        assert delivery.step_key("pay") == delivery.step_key("pay")

    messages = service_of(sweep)
    await messages.start()
    for number in range(2):
        await ended(messages, await enqueue(Sweep(number=number)))
    assert len({key for pair in keys for key in pair}) == 4
