"""What an operator sees at a glance, and what Prometheus is told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from trenza.chassis.contract import Event, Task
from trenza.chassis.messages.definitions import Delivery, handles, reacts
from trenza.chassis.messages.overview import QueueState
from trenza.chassis.telemetry.metrics import registry


class Deliver(Task, type="post.Deliver"):
    number: int


class Posted(Event, type="post.Posted"):
    number: int = 0


@handles(Deliver, attempts=1)
async def deliver(_: Any, order: Deliver, _delivery: Delivery) -> None:
    if order.number < 0:
        raise OSError("no such house")


async def test_a_look_tells_states_ages_and_rates(service_of: Any, enqueue: Any, clock: Any) -> None:
    @reacts(Posted)
    async def note(_: Any, _event: Posted, _delivery: Delivery) -> None: ...

    messages = service_of(deliver, note, clock=clock)
    start = clock.now()
    await enqueue(Deliver(number=1), delay=timedelta(minutes=5))
    await messages.start()
    for number in (-2, -1, 1, 2, 3):
        assert (await messages.wait(await enqueue(Deliver(number=number)), timeout=20)).ended
    await messages.drain(5)
    clock.advance(2)
    await enqueue(Deliver(number=4))
    clock.advance(8)
    overview = await messages.overview.look(after=start - timedelta(seconds=2), until=clock.now())
    assert overview.seconds == 12
    assert overview.queues == (
        QueueState(
            consumer="deliver",
            type="post.Deliver",
            waiting=1,
            delayed=1,
            dead=2,
            oldest_seconds=8,
            handled_per_second=0.25,
            failed_per_second=2 / 12,
        ),
        QueueState(consumer="note", type="post.Posted"),
    )
    later = await messages.overview.look(after=clock.now() - timedelta(seconds=1), until=clock.now())
    assert (later.queues[0].handled_per_second, later.queues[0].failed_per_second, later.queues[0].dead) == (0, 0, 2)


async def test_an_outbox_shows_what_was_not_sent_and_what_was(service_of: Any, database: Any, clock: Any) -> None:
    messages = service_of(clock=clock)
    async with database.work() as work:
        await work.publish(Posted())
    clock.advance(3)
    before = await messages.overview.look(after=clock.now() - timedelta(seconds=1), until=clock.now())
    assert (before.outbox_waiting, before.outbox_oldest_seconds, before.sent_per_second) == (1, 3, 0)
    await messages.start()
    assert await messages.flush(20)
    after = await messages.overview.look(after=clock.now() - timedelta(seconds=1), until=clock.now())
    assert (after.outbox_waiting, after.outbox_oldest_seconds, after.sent_per_second) == (0, None, 1)


async def test_prometheus_is_told_of_every_step(service_of: Any, database: Any, enqueue: Any) -> None:
    done = asyncio.Event()

    @reacts(Posted)
    async def note(_: Any, _event: Posted, _delivery: Delivery) -> None:
        done.set()

    service = "telegraph-sqlite" if database.is_sqlite else "telegraph-postgres"  # the registry is one for all tests

    def figure(name: str, **labels: str) -> float:
        return registry().get_sample_value(name, {"service": service, **labels}) or 0

    messages = service_of(deliver, note, name=service)
    await messages.start()
    async with database.work() as work:
        await work.publish(Posted())
    await asyncio.wait_for(done.wait(), 20)
    assert (await messages.wait(await enqueue(Deliver(number=-1)), timeout=20)).ended
    assert await messages.flush(20)
    await messages.drain(5)
    await messages.maintenance.measure()
    assert figure("messages_received_total") == 1
    assert figure("messages_relayed_total") == 1
    assert figure("messages_handled_total", consumer="note", outcome="completed") == 1
    assert figure("messages_handled_total", consumer="deliver", outcome="failed") == 1
    assert figure("messages_handling_seconds_count", consumer="deliver") == 1
    assert figure("messages_depth", box="inbox", state="failed") == 1
    assert figure("messages_oldest_seconds", box="outbox") == 0
