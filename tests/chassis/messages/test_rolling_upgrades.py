"""Two releases of a service on one database: what only the newer one knows waits for it, and is handled once."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from trenza.chassis.contract import Event, Task
from trenza.chassis.messages.definitions import Delivery, handles, reacts
from trenza.chassis.messages.maintenance import ORPHAN_GRACE

LONGER_THAN_THE_GRACE = ORPHAN_GRACE.total_seconds() + 1


class Baked(Event, type="bakery.Baked", key="oven"):
    loaf: int
    oven: str | None = None


class Sold(Event, type="bakery.Sold", key="oven"):
    loaf: int
    oven: str | None = None


class Count(Task, type="shop.Count", key="shelf"):
    number: int
    shelf: str | None = None


class Dust(Task, type="shop.Dust", key="shelf"):
    number: int
    shelf: str | None = None


def body(event: Event, **more: Any) -> str:
    """What a transport delivers."""
    attributes = {"source": "trenza/bakery", "type": event.message_type, "orderingkey": event.ordering_key}
    present = {name: value for name, value in attributes.items() if value is not None}
    moment = "2026-01-01T00:00:00+00:00"
    return json.dumps({"id": str(uuid4()), "time": moment, **present, "data": json.loads(event.model_dump_json()), **more})


class Done:
    """What was done, in the order of the commits."""

    def __init__(self, effects: Any) -> None:
        self._effects = effects
        self._told: asyncio.Queue[str] = asyncio.Queue()
        self._seen: list[str] = []

    async def finish(self, delivery: Delivery, what: str) -> None:
        async with delivery.finish() as work:
            await self._effects.add(work, what)
        self._told.put_nowait(what)

    async def until(self, *wanted: str) -> None:
        """Wait until so much is done; it must be this, in any order."""
        async with asyncio.timeout(20):
            while len(self._seen) < len(wanted):
                self._seen.append(await self._told.get())
        assert sorted(await self._effects.all()) == sorted(wanted)


@pytest.fixture
def done(effects: Any) -> Done:
    """Nothing yet."""
    return Done(effects)


@pytest.fixture
def releases(service_of: Any, done: Done, clock: Any) -> Any:
    """The old release, which knows Baked and Count, and the new one, which knows Sold and Dust as well."""

    @reacts(Baked, consumer="bakery")
    async def baked(_: Any, event: Baked, delivery: Delivery) -> None:
        await done.finish(delivery, f"baked {event.loaf}")

    @reacts(Sold, consumer="bakery")
    async def sold(_: Any, event: Sold, delivery: Delivery) -> None:
        await done.finish(delivery, f"sold {event.loaf}")

    @handles(Count, consumer="shelves")
    async def count(_: Any, order: Count, delivery: Delivery) -> None:
        await done.finish(delivery, f"count {order.number}")

    @handles(Dust, consumer="shelves")
    async def dust(_: Any, order: Dust, delivery: Delivery) -> None:
        await done.finish(delivery, f"dust {order.number}")

    @handles(Dust)
    async def dust_alone(_: Any, order: Dust, delivery: Delivery) -> None:
        await done.finish(delivery, f"dust {order.number}")

    def make(*, shared: bool = True) -> tuple[Any, Any]:
        old = service_of(baked, count, clock=clock)
        return old, service_of(baked, sold, count, dust if shared else dust_alone, clock=clock)

    return make


async def test_an_event_that_only_the_new_release_knows_waits_for_it(releases: Any, done: Done) -> None:
    old, new = releases()
    await old.start()
    await old.receive([body(Sold(loaf=1)), body(Baked(loaf=2))])
    await done.until("baked 2")
    assert (await old.dead_letters.list()).letters == ()
    await new.start()
    await done.until("baked 2", "sold 1")
    await old.drain(5)
    await new.drain(5)
    await done.until("baked 2", "sold 1")


async def test_what_an_old_process_gave_up_is_handled_after_the_upgrade_once(releases: Any, done: Done, clock: Any) -> None:
    old, new = releases()
    bodies = [body(Sold(loaf=number)) for number in range(3)]
    await old.receive(bodies)
    clock.advance(LONGER_THAN_THE_GRACE)
    await old.maintenance.settle_orphans()
    assert [letter.reason for letter in (await old.dead_letters.list()).letters] == ["no_handler"] * 3
    await new.start()
    await done.until("sold 0", "sold 1", "sold 2")
    await new.receive(bodies)
    await new.receive([body(Baked(loaf=3))])
    await done.until("sold 0", "sold 1", "sold 2", "baked 3")
    assert (await new.dead_letters.list()).letters == ()


async def test_an_old_process_leaves_what_the_new_one_has_just_taken_up(releases: Any, clock: Any) -> None:
    old, new = releases()
    await old.receive([body(Sold(loaf=1))])
    clock.advance(LONGER_THAN_THE_GRACE)
    await new.maintenance.settle_orphans()
    await old.maintenance.settle_orphans()
    assert (await new.dead_letters.list()).letters == ()


async def test_more_than_a_batch_is_adopted_at_once(releases: Any, clock: Any) -> None:
    old, new = releases()
    await old.receive([body(Sold(loaf=number)) for number in range(501)])
    clock.advance(LONGER_THAN_THE_GRACE)
    await new.maintenance.settle_orphans()
    overview = await new.overview.look(after=clock.now(), until=clock.now())
    assert {(queue.consumer, queue.type): queue.waiting for queue in overview.queues if queue.waiting} == {
        ("bakery", "bakery.Sold"): 501
    }
    assert (await new.dead_letters.list()).letters == ()


async def test_an_old_process_does_not_claim_a_task_of_a_type_that_it_does_not_know(
    releases: Any, done: Done, effects: Any, database: Any
) -> None:
    old, new = releases()  # the new one is made last: what is enqueued now, it enqueues
    async with database.work() as work:
        unknown: UUID = await work.enqueue(Dust(number=1, shelf="a"), priority=5)
        await work.enqueue(Count(number=2, shelf="b"))
        behind: UUID = await work.enqueue(Count(number=3, shelf="a"))
    await old.start()
    await done.until("count 2")
    for waiting in (unknown, behind):
        state = await old.find(waiting)
        assert (state.state, state.attempts) == ("waiting", 0)
    await new.start()
    for task_id in (unknown, behind):
        assert (await new.wait(task_id, timeout=20)).state == "completed"
    assert await effects.all() == ["count 2", "dust 1", "count 3"]


@pytest.mark.parametrize("shared", [True, False], ids=["of a shared consumer", "of a consumer of its own"])
async def test_a_task_that_an_old_process_gave_up_is_done_after_the_upgrade_once(
    releases: Any, done: Done, database: Any, clock: Any, *, shared: bool
) -> None:
    old, new = releases(shared=shared)
    async with database.work() as work:
        task_id: UUID = await work.enqueue(Dust(number=1))
    clock.advance(LONGER_THAN_THE_GRACE)
    await old.maintenance.settle_orphans()
    assert (await old.find(task_id)).state == "failed"
    await new.start()
    await done.until("dust 1")
    await new.drain(5)
    assert (await new.find(task_id)).state == "completed"
    await done.until("dust 1")


async def test_an_old_process_reads_past_fields_that_a_newer_one_has_added(releases: Any, done: Done) -> None:
    old, _ = releases()
    await old.start()
    await old.receive([body(Baked(loaf=1), data={"loaf": 1, "flour": "rye"}, sealedby="a newer release")])
    await done.until("baked 1")
