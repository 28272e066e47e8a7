"""From outbox to inbox: several services, failures on the way, two relays, unreadable and unclaimed messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from trenza.chassis.contract import Event
from trenza.chassis.data import Database
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.messages import LocalTransport
from trenza.chassis.messages.definitions import Delivery, reacts
from trenza.chassis.messages.outbox import Outbox
from trenza.chassis.messages.service_messages import NotStored
from trenza.chassis.messages.tables import inbox, outbox
from trenza.chassis.messages.transports.base import Outgoing, TransportUnavailable
from trenza.chassis.testing.clock import ManualClock


class Baked(Event, type="bakery.Baked", key="oven"):
    loaf: int
    oven: str = "left"


@pytest.fixture
async def bakery(tmp_path: Any) -> AsyncIterator[Database]:
    """The database of another service. Ask for it before `service_of`, so that it outlives the services that use it."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'bakery.sqlite3'}", schema="bakery")
    await upgrade(database, None)
    yield database
    await database.close()


async def outbox_states(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.execute(sa.select(outbox.c.state).order_by(outbox.c.position))).scalars())


async def publish(database: Database, *loaves: int) -> None:
    async with database.work() as work:
        for loaf in loaves:
            await work.publish(Baked(loaf=loaf))


async def test_an_event_goes_from_one_service_to_another_in_order(bakery: Database, service_of: Any, effects: Any) -> None:
    done = asyncio.Event()

    @reacts(Baked)
    async def shelve(_: Any, event: Baked, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, f"{event.loaf:03}")
        if event.loaf == 249:
            done.set()

    shop, oven = service_of(shelve), service_of(on=bakery, name="bakery")
    LocalTransport().connect(shop, oven)
    await shop.start()
    await oven.start()
    await publish(bakery, *range(250))  # more than one batch of the relay
    await asyncio.wait_for(done.wait(), 60)
    assert await effects.all() == [f"{loaf:03}" for loaf in range(250)]
    assert await oven.flush(5)
    assert set(await outbox_states(bakery)) == {"sent"}


class Flaky(LocalTransport):
    """Fails as often as it is told to, after or before it has delivered."""

    def __init__(self, failures: int, *, after_delivery: bool) -> None:
        super().__init__()
        self.failures = failures
        self.after_delivery = after_delivery
        self.published: list[int] = []

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self.published.append(len(messages))
        failing = self.failures > 0
        self.failures -= 1
        if failing and not self.after_delivery:
            raise TransportUnavailable("no connection")
        await super().publish(messages)
        if failing:
            raise TransportUnavailable("connection lost before the confirmation")


@pytest.mark.parametrize("after_delivery", [False, True])
async def test_a_transport_that_fails_is_tried_again_and_nothing_arrives_twice(
    service_of: Any, effects: Any, database: Any, *, after_delivery: bool
) -> None:
    done = asyncio.Event()

    @reacts(Baked)
    async def shelve(_: Any, event: Baked, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, str(event.loaf))
        if event.loaf == 3:
            done.set()

    messages = service_of(shelve)
    transport = Flaky(1, after_delivery=after_delivery)
    transport.connect(messages)
    await publish(database, 1, 2, 3)
    await messages.start()
    await asyncio.wait_for(done.wait(), 20)
    assert await messages.flush(10)
    assert await effects.all() == ["1", "2", "3"]
    assert transport.published == [3, 3]


async def test_commits_do_not_hurry_a_relay_whose_transport_is_away(service_of: Any, effects: Any, database: Any) -> None:
    done = asyncio.Event()

    @reacts(Baked)
    async def shelve(_: Any, event: Baked, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, str(event.loaf))
        if event.loaf == 40:
            done.set()

    messages = service_of(shelve)
    transport = Flaky(10**6, after_delivery=False)
    transport.connect(messages)
    await messages.start()
    begun = time.monotonic()
    for loaf in range(41):
        await publish(database, loaf)
    # Tried at once, and after pauses of 0.5, 1, 2, 4 and then 5 seconds.
    assert len(transport.published) <= 2 + (time.monotonic() - begun)
    transport.failures = 0
    await asyncio.wait_for(done.wait(), 20)
    assert len(await effects.all()) == 41


async def test_a_transport_that_is_away_does_not_hold_up_a_drain(service_of: Any, database: Any) -> None:
    class Silent(LocalTransport):
        """Takes a publication and says nothing of it."""

        asked = asyncio.Event()

        async def publish(self, _: Sequence[Outgoing]) -> None:
            self.asked.set()
            await asyncio.Event().wait()

    messages, transport = service_of(), Silent()
    transport.connect(messages)
    await messages.start()
    await publish(database, 1)
    await asyncio.wait_for(transport.asked.wait(), 20)
    begun = time.monotonic()
    await messages.drain(60)
    assert time.monotonic() - begun < 6
    assert await outbox_states(database) == ["waiting"]


async def test_a_drain_flushes_the_outbox_and_reports_what_it_cannot(service_of: Any, database: Any) -> None:
    @reacts(Baked)
    async def shelve(_: Any, _event: Baked, _delivery: Delivery) -> None:
        pass

    messages = service_of(shelve)
    await messages.start()
    async with database.work() as work:
        await work.publish(Baked(loaf=1))
        await messages.publish(work.connection, Baked(loaf=2))
    await messages.drain(1)
    assert set(await outbox_states(database)) == {"sent"}

    broken = service_of()
    Flaky(10**6, after_delivery=False).connect(broken)
    await publish(database, 3)
    assert not await broken.flush(1)
    assert (await outbox_states(database))[-1] == "waiting"


async def test_one_relay_at_a_time_publishes_and_a_dead_ones_lease_runs_out(database: Any, clock: Any, service_of: Any) -> None:
    service_of(clock=clock)
    await publish(database, 1, 2)
    first, second = Outbox(database, "test", clock), Outbox(database, "test", clock)
    lease = timedelta(seconds=30)
    batch = await first.claim(1, lease)
    assert batch is not None
    assert [message.type for message in batch.messages] == ["bakery.Baked"]
    assert await second.claim(1, lease) is None
    clock.advance(31)  # the first relay's process is gone
    taken_over = await second.claim(10, lease)
    assert taken_over is not None
    assert len(taken_over.messages) == 2
    assert taken_over.messages[0].id == batch.messages[0].id
    assert await first.claim(1, lease, sent=batch) is None  # it was not gone after all; its successor keeps the lease
    nothing = await second.claim(10, lease, sent=taken_over)
    assert nothing is not None
    assert nothing.messages == ()  # and so the lease is free
    nothing = await first.claim(1, lease)
    assert nothing is not None
    assert nothing.messages == ()


async def test_the_lease_of_a_relay_that_died_with_its_clock_an_hour_ahead_holds_up_nothing(
    database: Any, clock: Any, service_of: Any
) -> None:
    ahead, lease = ManualClock(clock.now() + timedelta(hours=1)), timedelta(seconds=15)
    service_of(clock=clock)
    await publish(database, 1, 2)
    died = await Outbox(database, "test", ahead).claim(1, lease)
    assert died is not None
    successor, other = Outbox(database, "test", clock), Outbox(database, "test", clock)
    taken_over = await successor.claim(10, lease)
    assert taken_over is not None
    assert [message.id for message in taken_over.messages][:1] == [message.id for message in died.messages]
    assert len(taken_over.messages) == 2
    assert await other.claim(10, lease) is None


async def test_what_cannot_be_stored_is_told_until_it_is_or_comes_no_more(service_of: Any, database: Any, clock: Any) -> None:
    messages = service_of(clock=clock)

    async def receive(*, renamed: str) -> None:
        async with database.work() as work:
            await work.execute(sa.text(f"ALTER TABLE {renamed}"))
        await messages.receive(["no envelope"])

    await messages.check_receiving()
    with pytest.raises(sa.exc.DBAPIError):
        await receive(renamed="inbox RENAME TO away")
    with pytest.raises(NotStored, match=r"messages arrive that cannot be stored, and will come again: .*inbox"):
        await messages.check_receiving()
    clock.advance(121)  # it has gone to another process
    await messages.check_receiving()
    with pytest.raises(sa.exc.DBAPIError):
        await messages.receive(["no envelope"])
    await receive(renamed="away RENAME TO inbox")
    await messages.check_receiving()


async def test_unreadable_bodies_become_dead_letters_once(service_of: Any) -> None:
    messages = service_of()
    bodies: list[str | bytes] = [
        b"\xff\x00 no text at all",
        "[]",
        '{"specversion":"1.0"}',
        '{"id":"not a uuid","source":"x","type":"a.B","time":"2026-01-01T00:00:00+00:00"}',
        '{"id":"01890a5d-ac96-774b-bcce-b302099a8057","source":"x","type":"a.B","time":"2026-01-01T00:00:00"}',
    ]
    with capture_logs() as logged:
        await messages.receive(bodies)
    assert [(line["event"], line["attempts"]) for line in logged] == [("dead letter", 0)] * 5
    await messages.receive(bodies)
    letters = (await messages.dead_letters.list()).letters
    assert [letter.reason for letter in letters] == ["unreadable"] * 5
    assert letters[0].envelope == "\\xff\\x00 no text at all"
    assert [letter.error for letter in letters[1:]] == [
        "the body is not a JSON object",
        "the attribute 'id' is missing",
        "the attribute 'id' is no UUID",
        "the attribute 'time' has no offset: write 2026-01-31T12:00:00Z",
    ]


async def test_a_type_that_nobody_handles_waits_for_a_release_that_does_then_is_a_dead_letter(
    bakery: Database, service_of: Any, effects: Any, clock: Any
) -> None:
    oven = service_of(on=bakery, name="bakery", clock=clock)
    await publish(bakery, 1)
    async with bakery.read() as connection:
        body = await connection.scalar(sa.select(outbox.c.envelope))
    assert oven.event_types == frozenset()
    await publish(bakery, 2)
    async with bakery.read() as connection:
        later = (await connection.execute(sa.select(outbox.c.envelope).order_by(outbox.c.position.desc()))).scalar()

    old = service_of(clock=clock)
    await old.receive([body])
    await old.maintenance.settle_orphans()
    assert (await old.dead_letters.list()).letters == ()
    clock.advance(121)
    await old.maintenance.settle_orphans()
    (letter,) = (await old.dead_letters.list()).letters
    assert (letter.reason, letter.type) == ("no_handler", "bakery.Baked")

    done = asyncio.Semaphore(0)

    @reacts(Baked)
    async def shelve(_: Any, event: Baked, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, f"shelve {event.loaf}")
        done.release()

    @reacts(Baked)
    async def count(_: Any, event: Baked, delivery: Delivery) -> None:
        async with delivery.finish() as work:
            await effects.add(work, f"count {event.loaf}")
        done.release()

    await old.receive([later])
    new = service_of(shelve, count, clock=clock)
    assert await new.dead_letters.redrive() == 1
    await new.start()  # its first round of maintenance finds them
    for _ in range(4):
        await asyncio.wait_for(done.acquire(), 20)
    assert sorted(await effects.all()) == ["count 1", "count 2", "shelve 1", "shelve 2"]


async def test_what_has_ended_is_forgotten_after_its_retention(service_of: Any, database: Any, clock: Any) -> None:
    done = asyncio.Event()

    @reacts(Baked, attempts=1)
    async def shelve(_: Any, event: Baked, _delivery: Delivery) -> None:
        if event.loaf == 1:
            raise OSError("burnt")
        done.set()

    messages = service_of(shelve, clock=clock)
    await messages.start()
    await publish(database, 1)
    await publish(database, 2)
    await asyncio.wait_for(done.wait(), 20)
    await messages.flush(5)
    await messages.drain(5)

    async def counts() -> tuple[int | None, int | None]:
        async with database.read() as connection:
            return (
                await connection.scalar(sa.select(sa.func.count()).select_from(outbox)),
                await connection.scalar(sa.select(sa.func.count()).select_from(inbox)),
            )

    assert await messages.maintenance.purge() == 0
    clock.advance(25 * 3600)
    assert await messages.maintenance.purge() == 2
    assert await counts() == (0, 2)
    clock.advance(6 * 24 * 3600)
    assert await messages.maintenance.purge() == 1
    assert await counts() == (0, 1)  # dead letters stay until somebody decides
    await messages.maintenance.measure()


async def test_an_idle_service_asks_its_database_nothing(service_of: Any, database: Any) -> None:
    @reacts(Baked)
    async def shelve(_: Any, _event: Baked, _delivery: Delivery) -> None:
        pass

    statements: list[str] = []
    messages = service_of(shelve)
    await messages.start()
    await asyncio.sleep(1.5)  # its start is over

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    engines = {engine.sync_engine for engine in database.engines}
    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", count)
    await asyncio.sleep(4)
    for engine in engines:
        sa.event.remove(engine, "before_cursor_execute", count)
    assert statements == []


def test_handlers_that_contradict_each_other_are_refused(service_of: Any) -> None:
    @reacts(Baked)
    async def shelve(_: Any, _event: Baked, _delivery: Delivery) -> None:
        pass

    with pytest.raises(TypeError, match="handled twice by the consumer 'shelve'"):
        service_of(shelve, shelve)
