"""What is particular to Kafka: members that come, go and die, partitions, and what others write into our topics."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

if TYPE_CHECKING:
    from tests.conformance.conftest import Wires

    from trenza.chassis.testing.brokers import Broker

BAKED = frozenset({"bakery.Baked"})
TANSU = pytest.param("tansu", marks=pytest.mark.xdist_group("tansu"))
NOIDA = pytest.param("noida", marks=pytest.mark.xdist_group("noida"))
both = pytest.mark.parametrize("broker", [TANSU, NOIDA], indirect=True)

# From the tests of Java's client (UtilsTest.testMurmur2).
JAVA_HASHES = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}

HANGS = """
import asyncio, sys
from trenza.chassis.messages.transports.kafka import KafkaTransport
from trenza.chassis.messages.transports.opening import BrokerUrl

async def hang(bodies):
    print("begun", flush=True)
    await asyncio.Event().wait()

async def main():
    await KafkaTransport(BrokerUrl.read(sys.argv[1])).subscribe("shop", frozenset({"bakery.Baked"}), hang)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def topic_of(wires: Wires) -> str:
    return wires.url.partition("prefix=")[2] + ".bakery"


def servers_of(wires: Wires) -> str:
    return urlsplit(wires.url).netloc


def read_all(wires: Wires, count: int) -> dict[int, list[str]]:
    """The keys in each partition of the topic, as another program reads them."""
    consumer = Consumer({"bootstrap.servers": servers_of(wires), "group.id": "reader", "auto.offset.reset": "earliest"})
    partitions = consumer.list_topics(topic_of(wires), timeout=10).topics[topic_of(wires)].partitions
    consumer.assign([TopicPartition(topic_of(wires), partition, 0) for partition in partitions])
    found: dict[int, list[str]] = defaultdict(list)
    for message in consumer.consume(count, 30):
        assert message.error() is None
        found[message.partition() or 0].append((message.key() or b"").decode())
    consumer.close()
    return found


@both
async def test_members_come_and_go_while_messages_flow(wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender, members = inbox_of(), wires.connect(), [wires.connect() for _ in range(3)]
    received = [asyncio.Event() for _ in members]
    sent, enough = 0, asyncio.Event()

    def is_not_far_behind() -> bool:
        return sent - len(inbox.bodies) < 400

    async def receive(member: int, bodies: Any) -> None:
        await inbox.receive(bodies)
        received[member].set()

    async def send() -> None:
        nonlocal sent
        while not enough.is_set():
            await sender.publish([message(number, key=f"key-{number % 25}") for number in range(sent, sent + 25)])
            sent += 25
            await inbox.until(is_not_far_behind)

    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        group.create_task(send())
        for number, member in enumerate(members):
            await member.subscribe("shop", BAKED, partial(receive, number))
            await received[number].wait()
        await members[0].unsubscribe("shop")
        for event in received[1:]:
            event.clear()
        await members[1].unsubscribe("shop")
        received[2].clear()
        await received[2].wait()
        enough.set()
    await inbox.until(lambda: {body["data"]["number"] for body in inbox.bodies} == set(range(sent)))
    for key in range(25):
        assert inbox.numbers(f"key-{key}") == list(range(key, sent, 25))


@pytest.mark.parametrize("broker", [TANSU], indirect=True)  # noida-db keeps a dead member in its group
async def test_what_a_killed_process_held_goes_to_another(wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender = inbox_of(), wires.connect()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HANGS, wires.url, stdout=asyncio.subprocess.PIPE)
    try:
        await sender.publish([message(number, key=f"key-{number % 25}") for number in range(100)])
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"begun\n"
    finally:
        process.kill()
        await process.wait()
    await sender.publish([message(number, key=f"key-{number % 25}") for number in range(100, 200)])
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await inbox.holds(200)
    for key in range(25):
        assert inbox.numbers(f"key-{key}") == list(range(key, 200, 25))


@both
async def test_what_others_write_into_a_topic_is_for_the_inbox_to_judge(wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, transport = inbox_of(), wires.connect()
    await transport.subscribe("shop", BAKED, inbox.receive)
    await transport.publish([message(1)])
    foreign = Producer({"bootstrap.servers": servers_of(wires), "partitioner": "murmur2"})  # into the partition of our "a"
    foreign.produce(topic_of(wires), value=b"\xff\x00 no envelope", key=b"a")
    foreign.produce(topic_of(wires), value=None, key=b"a")
    foreign.produce(topic_of(wires), value=b"not ours", key=b"a", headers=[("type", b"bakery.Burnt")])
    foreign.produce(topic_of(wires), value=b"strange header", key=b"a", headers=[("type", None)])
    foreign.produce(topic_of(wires), value=message(3, type_="shop.Sold").body, key=b"a", headers=[("type", b"bakery.Baked")])
    assert await asyncio.to_thread(foreign.flush, 30) == 0
    await transport.publish([message(2)])
    assert await inbox.holds(2) == [1, 2]
    assert inbox.strange[:3] == [b"\xff\x00 no envelope", b"", b"strange header"]
    assert len(inbox.strange) == 4
    assert f"it was sent as one of {topic_of(wires)}, and says that it is shop.Sold".encode() in inbox.strange[3]


@both
async def test_a_partition_holds_the_keys_that_other_clients_put_there(wires: Wires, message: Any) -> None:
    await wires.connect().publish([message(number, key=key) for key in JAVA_HASHES for number in range(3)])
    found = await asyncio.to_thread(read_all, wires, 3 * len(JAVA_HASHES))
    expected: dict[int, list[str]] = defaultdict(list)
    for key, hashed in JAVA_HASHES.items():
        expected[(hashed & 0x7FFFFFFF) % 12] += [key] * 3
    assert found == expected


@both
async def test_messages_without_a_key_are_spread(wires: Wires, message: Any) -> None:
    await wires.connect().publish([message(number, key=None) for number in range(100)])
    found = await asyncio.to_thread(read_all, wires, 100)
    assert len(found) > 6


@both
async def test_a_topic_has_as_many_partitions_as_the_url_says(wires: Wires, message: Any) -> None:
    await wires.connect(f"{wires.url}&partitions=3").publish([message(1)])
    consumer = Consumer({"bootstrap.servers": servers_of(wires), "group.id": "reader"})
    assert len((await asyncio.to_thread(consumer.list_topics, topic_of(wires), 10)).topics[topic_of(wires)].partitions) == 3
    consumer.close()


@both
async def test_publications_that_were_cancelled_and_repeated_keep_order(wires: Wires, inbox_of: Any, message: Any) -> None:
    """As the relay's are, when a service is stopped in mid-publication; what was left behind comes before nothing."""
    inbox, sender = inbox_of(), wires.connect()
    await sender.publish([message(0, key="key-0")])
    for start in range(1, 601, 100):
        batch = [message(number, key=f"key-{number % 3}") for number in range(start, start + 100)]
        cancelled = asyncio.create_task(sender.publish(batch))
        await asyncio.sleep(0)  # it is on its way now, as far as it comes
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await sender.publish(batch)
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await inbox.holds(601)
    for key in range(3):
        assert inbox.numbers(f"key-{key}") == list(range(key, 601, 3))


@both
async def test_another_prefix_sees_nothing(broker: Broker, wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, other, sender = inbox_of(), inbox_of(), wires.connect()
    elsewhere = wires.connect(broker.url(f"{wires.url.partition('prefix=')[2]}-b"))
    await sender.subscribe("shop", BAKED, inbox.receive)
    await elsewhere.subscribe("shop", BAKED, other.receive)
    await sender.publish([message(1), message(2)])
    await inbox.holds(2)
    await elsewhere.publish([message(3)])
    assert await other.holds(1) == [3]


@both
async def test_a_service_that_is_new_begins_with_what_its_topics_have_kept(wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender = inbox_of(), wires.connect()
    await sender.publish([message(number) for number in range(5)])
    await wires.connect().subscribe("newcomer", BAKED, inbox.receive)
    assert await inbox.holds(5) == list(range(5))


@both
async def test_a_delivery_that_takes_long_is_made_once(wires: Wires, inbox_of: Any, message: Any) -> None:
    """Waiting for it, the member answers its group, and what it has read ahead is not lost."""
    inbox, transport, begun, go_on = inbox_of(), wires.connect(), asyncio.Event(), asyncio.Event()

    async def wait(_: list[int]) -> None:
        begun.set()
        await go_on.wait()

    inbox.before = wait
    await transport.subscribe("shop", BAKED, inbox.receive)
    await transport.publish([message(0)])
    await asyncio.wait_for(begun.wait(), 60)
    asyncio.get_running_loop().call_later(2, go_on.set)
    await transport.publish([message(number) for number in range(1, 600)])
    assert await inbox.holds(600) == list(range(600))
    assert len(inbox.bodies) == 600
