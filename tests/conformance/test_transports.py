"""What `Transport` promises, shown over each real broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from trenza.chassis.messages.transports.base import TransportUnavailable

if TYPE_CHECKING:
    from tests.conformance.conftest import Wires

    from trenza.chassis.testing.brokers import Broker

BAKED = frozenset({"bakery.Baked"})
SOLD = frozenset({"shop.Sold"})


async def test_every_service_gets_its_types_once_and_no_others(wires: Wires, inbox_of: Any, message: Any) -> None:
    sender, shop, ledger, both = wires.connect(), inbox_of(), inbox_of(), inbox_of()
    receiver = wires.connect()
    await receiver.subscribe("shop", BAKED, shop.receive)
    await receiver.subscribe("ledger", SOLD, ledger.receive)
    await receiver.subscribe("both", BAKED | SOLD, both.receive)
    await sender.publish([message(1), message(2, type_="shop.Sold"), message(3, type_="nobody.Listens"), message(4)])
    assert await shop.holds(2) == [1, 4]
    assert await ledger.holds(1) == [2]
    assert sorted(await both.holds(3)) == [1, 2, 4]


async def test_nobody_listening_is_no_error(wires: Wires, message: Any) -> None:
    await wires.connect().publish([message(1, type_="nobody.Listens")])


async def test_what_arrives_while_a_service_is_away_is_kept_for_it(wires: Wires, inbox_of: Any, message: Any) -> None:
    before, after, sender = inbox_of(), inbox_of(), wires.connect()
    first = wires.connect()
    await first.subscribe("shop", BAKED, before.receive)
    await sender.publish([message(1)])
    await before.holds(1)
    await first.unsubscribe("shop")
    await sender.publish([message(number) for number in range(2, 30)])
    await wires.connect().subscribe("shop", BAKED, after.receive)
    assert await after.holds(28) == list(range(2, 30))
    assert before.numbers() == [1]


async def test_nothing_is_delivered_after_unsubscribing(wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, other, transport = inbox_of(), inbox_of(), wires.connect()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def pause(_: list[int]) -> None:
        begun.set()
        await go_on.wait()

    inbox.before = pause
    await transport.subscribe("shop", BAKED, inbox.receive)
    await transport.subscribe("other", BAKED, other.receive)
    await transport.publish([message(1)])
    await asyncio.wait_for(begun.wait(), 60)
    leaving = asyncio.create_task(transport.unsubscribe("shop"))
    await other.holds(1)
    assert not leaving.done()  # a delivery is under way
    go_on.set()
    await asyncio.wait_for(leaving, 60)
    assert inbox.numbers() == [1]
    await transport.publish([message(2)])
    await other.holds(2)
    assert inbox.numbers() == [1]


async def test_order_is_kept_per_key_over_three_processes(wires: Wires, inbox_of: Any, message: Any) -> None:
    """One inbox, as the processes of a service share one: what arrives late there would be handled late."""
    inbox, sender = inbox_of(), wires.connect()
    for _ in range(3):
        await wires.connect().subscribe("shop", BAKED, inbox.receive)
    for start in range(0, 600, 60):
        await sender.publish([message(number, key=f"key-{number % 7}") for number in range(start, start + 60)])
    await inbox.holds(600)
    for key in range(7):
        assert inbox.numbers(f"key-{key}") == [number for number in range(600) if number % 7 == key]


async def test_a_lost_acknowledgement_repeats_the_batch_before_what_follows_it(wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender, failures = inbox_of(), wires.connect(), 3

    async def fail(_: list[int]) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ConnectionError("the database is away")

    inbox.before = fail
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await sender.publish([message(number) for number in range(20)])
    assert await inbox.holds(20) == list(range(20))
    assert failures < 0


async def test_what_a_dead_process_held_goes_to_another_in_order(wires: Wires, inbox_of: Any, message: Any) -> None:
    held, inbox, sender, dying = inbox_of(), inbox_of(), wires.connect(), wires.connect()
    begun = asyncio.Event()

    async def hang(_: list[int]) -> None:
        begun.set()
        await asyncio.Event().wait()

    held.before = hang
    await dying.subscribe("shop", BAKED, held.receive)
    await sender.publish([message(number) for number in range(10)])
    await asyncio.wait_for(begun.wait(), 60)
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await sender.publish([message(number) for number in range(10, 20)])
    await asyncio.wait_for(dying.close(), 30)  # as when it dies: nothing is acknowledged
    assert await inbox.holds(20) == list(range(20))


async def test_a_batch_published_twice_arrives(wires: Wires, inbox_of: Any, message: Any) -> None:
    """The relay repeats what it does not know to be safe; the inbox takes each message once."""
    inbox, sender = inbox_of(), wires.connect()
    batch = [message(number) for number in range(10)]
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await sender.publish(batch)
    await sender.publish(batch)
    await sender.publish([message(10)])
    assert await inbox.holds(11) == list(range(11))


async def test_a_slow_service_holds_up_no_other_and_is_not_flooded(wires: Wires, inbox_of: Any, message: Any) -> None:
    slow, quick, transport = inbox_of(), inbox_of(), wires.connect()
    go_on, largest = asyncio.Event(), 0

    async def wait(numbers: list[int]) -> None:
        nonlocal largest
        largest = max(largest, len(numbers))
        await go_on.wait()

    slow.before = wait
    await transport.subscribe("slow", BAKED, slow.receive)
    await transport.subscribe("quick", BAKED, quick.receive)
    sender = wires.connect()
    for start in range(0, 2000, 100):
        await sender.publish([message(number, key=None) for number in range(start, start + 100)])
    await quick.holds(2000)
    assert slow.numbers() == []
    go_on.set()
    await slow.holds(2000)
    assert largest <= 1000


async def test_a_message_of_a_megabyte_travels_as_an_object(wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender = inbox_of(), wires.connect()
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await sender.publish([message(1), message(2, padding=1024 * 1024), message(3)])
    assert await inbox.holds(3) == [1, 2, 3]
    assert len(inbox.bodies[1]["data"]["padding"]) == 1024 * 1024


async def test_many_large_messages_fit_one_batch(wires: Wires, inbox_of: Any, message: Any) -> None:
    """As large as they may be without becoming objects, as many as the relay publishes at once."""
    inbox, sender = inbox_of(), wires.connect()
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await sender.publish([message(number, padding=200 * 1024) for number in range(50)])
    assert await inbox.holds(50) == list(range(50))


async def test_letters_of_the_world_arrive_as_they_were_sent(wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender = inbox_of(), wires.connect()
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await sender.publish([message(1, key="clave/ñandú 🎉 " + "k" * 200)])
    await inbox.holds(1)
    assert inbox.bodies[0]["orderingkey"] == "clave/ñandú 🎉 " + "k" * 200


async def test_a_broker_that_restarts_loses_nothing_that_it_has_taken(
    broker: Broker, wires: Wires, inbox_of: Any, message: Any
) -> None:
    inbox, sender, receiver = inbox_of(), wires.connect(), wires.connect()
    await receiver.subscribe("shop", BAKED, inbox.receive)
    await sender.publish([message(0)])
    await inbox.holds(1)
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    for number in range(1, 20):
        batch = [message(number)]
        async with asyncio.timeout(60):
            while True:  # as the relay does
                try:
                    await sender.publish(batch)
                    break
                except TransportUnavailable:
                    await asyncio.sleep(0.1)
    assert await inbox.holds(20) == list(range(20))


async def test_what_was_taken_outlives_the_broker(broker: Broker, wires: Wires, inbox_of: Any, message: Any) -> None:
    if not broker.lasting:
        pytest.skip(f"{broker.name} keeps its messages in memory only: it stands for another broker of its protocol")
    inbox, sender, receiver = inbox_of(), wires.connect(), wires.connect()
    await receiver.subscribe("shop", BAKED, inbox.receive)
    await receiver.unsubscribe("shop")
    await sender.publish([message(number) for number in range(50)])
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    assert await inbox.holds(50) == list(range(50))


async def test_a_broker_that_is_away_is_told_of_within_seconds(broker: Broker, wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, transport = inbox_of(), wires.connect()
    await asyncio.to_thread(broker.stop)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(TransportUnavailable):
                await transport.ping()
        async with asyncio.timeout(30):
            with pytest.raises(TransportUnavailable):
                await transport.publish([message(1)])
        async with asyncio.timeout(30):
            await transport.subscribe("shop", BAKED, inbox.receive)
    finally:
        await asyncio.to_thread(broker.start)
    async with asyncio.timeout(60):
        while True:
            try:
                await transport.publish([message(2)])
                break
            except TransportUnavailable:
                await asyncio.sleep(0.1)
    await inbox.until(lambda: 2 in inbox.numbers())
    await transport.ping()
