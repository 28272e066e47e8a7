"""The line to Kafka is cut, stalled or slow: Tansu stands behind a proxy of each test, whose address it tells its clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from trenza.chassis.messages.transports.base import TransportUnavailable
from trenza.chassis.testing.brokers import NotInstalled
from trenza.chassis.testing.brokers.tansu import Tansu
from trenza.chassis.testing.server_process import free_port
from trenza.chassis.testing.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from tests.conformance.conftest import Wires

BAKED = frozenset({"bakery.Baked"})
KEYS = 5
WITHIN_SECONDS = 10.5
"""Ten, as promised, and a little for a machine under load."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Tansu]:
    """A broker of this test alone, for which `wires` are made: whoever asks it for its address is told that of a proxy."""
    tansu = Tansu(tmp_path)
    tansu.told_port = free_port()
    try:
        tansu.start()
    except NotInstalled as error:
        pytest.skip(f"not installed: {error}")
    yield tansu
    tansu.close()


@pytest.fixture
async def proxy(broker: Tansu) -> AsyncIterator[TcpProxy]:
    """What every client of the test goes through."""
    async with TcpProxy.before(*broker.address, listens_on=broker.told_port) as proxy:
        yield proxy


def in_order(inbox: Any, count: int) -> None:
    """Show that each of ``count`` messages is there, and those of each key in their order."""
    assert sorted(inbox.numbers()) == list(range(count))
    for key in range(KEYS):
        assert inbox.numbers(f"key-{key}") == list(range(key, count, KEYS))


async def read_into(inbox: Any, broker: Tansu, wires: Wires, count: int) -> None:
    """Let the inbox have all that the topic holds, partition by partition; joining a group would take five seconds."""
    topic = wires.url.partition("prefix=")[2] + ".bakery"
    servers = f"127.0.0.1:{broker.told_port}"
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "reader", "auto.offset.reset": "earliest"})
    partitions = (await asyncio.to_thread(consumer.list_topics, topic, 10)).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    async with asyncio.timeout(60):
        while len(inbox.numbers()) < count:
            read = await asyncio.to_thread(consumer.consume, 1000, 0.2)
            await inbox.receive([each.value() or b"" for each in read])
    await asyncio.to_thread(consumer.close)


async def refused(asked: Awaitable[None]) -> None:
    """Show that it fails in the time that is promised."""
    begun = time.monotonic()
    with pytest.raises(TransportUnavailable):
        await asked
    assert time.monotonic() - begun < WITHIN_SECONDS


async def test_a_receiver_that_is_cut_off_comes_back_and_misses_nothing(
    proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any
) -> None:
    inbox, sender, turns = inbox_of(), wires.connect(), 2
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    for turn in range(turns):
        batch = [message(number, key=f"key-{number % KEYS}", padding=2000) for number in range(turn * 100, turn * 100 + 100)]
        await wires.published(sender, *batch)
        await inbox.until(lambda: len(inbox.numbers()) > turn * 100)  # noqa: B023 - it ends within the turn
        proxy.cut()
    await wires.published(sender, message(turns * 100, key="key-0"))
    await inbox.holds(turns * 100 + 1)
    in_order(inbox, turns * 100 + 1)


async def test_a_sender_that_is_cut_off_leaves_no_gap(
    broker: Tansu, proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any
) -> None:
    inbox, sender, cuts = inbox_of(), wires.connect(), 3
    await wires.published(sender, message(0, key="key-0"))
    for cut in range(cuts):
        first = cut * 200 + 1
        batch = [message(number, key=f"key-{number % KEYS}", padding=2000) for number in range(first, first + 200)]
        proxy.seconds_a_chunk = 0.005  # a batch is on its way for 25 such moments
        sending = asyncio.create_task(wires.published(sender, *batch))
        await proxy.passed(100_000)
        assert not sending.done()
        proxy.cut()
        proxy.seconds_a_chunk = 0.0
        await sending
    await read_into(inbox, broker, wires, cuts * 200 + 1)
    in_order(inbox, cuts * 200 + 1)


async def test_a_broker_that_does_not_answer_is_given_up_within_seconds(
    broker: Tansu, proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any
) -> None:
    inbox, sender = inbox_of(), wires.connect()
    await wires.published(sender, message(0, key="key-0"))
    batch = [message(number, key=f"key-{number % KEYS}") for number in range(1, 50)]
    proxy.stall()
    await asyncio.gather(refused(sender.publish(batch)), refused(sender.ping()), refused(wires.connect().publish(batch)))
    proxy.flow()
    await wires.published(sender, *batch)
    await read_into(inbox, broker, wires, 50)
    in_order(inbox, 50)
    await sender.ping()


async def test_a_slow_line_only_slows(broker: Tansu, proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender = inbox_of(), wires.connect()
    await sender.publish([message(0, key="key-0")])
    proxy.seconds_a_chunk = 0.05
    begun = time.monotonic()
    await sender.publish([message(number, key=f"key-{number % KEYS}", padding=2000) for number in range(1, 100)])
    assert time.monotonic() - begun > 0.5, "it was not slow"
    await read_into(inbox, broker, wires, 100)
    in_order(inbox, 100)
    assert len(inbox.bodies) == 100, "repeated"
