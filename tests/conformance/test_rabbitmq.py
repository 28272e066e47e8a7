"""What is special about RabbitMQ: who receives, what happens when a line or memory fails, and what is told of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
import psutil
import pytest
from structlog.testing import capture_logs

from trenza.chassis.messages.transports.base import TransportUnavailable
from trenza.chassis.messages.transports.opening import BrokerUrl
from trenza.chassis.testing.brokers.rabbitmq import RabbitMQ
from trenza.chassis.testing.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from tests.conformance.conftest import Wires

pytestmark = pytest.mark.parametrize(
    "broker", [pytest.param("rabbitmq", marks=pytest.mark.xdist_group("rabbitmq"))], indirect=True, scope="session"
)
BAKED = frozenset({"bakery.Baked"})
WITHIN_SECONDS = 10.5
"""Ten, as promised, and a little for a machine under load."""


def through(proxy: TcpProxy, url: str, broker: RabbitMQ) -> str:
    """The URL that leads through a proxy."""
    return url.replace(f":{broker.address[1]}/", f":{proxy.port}/")


async def test_another_process_goes_on_in_order_when_the_receiver_is_cut_off(
    broker: RabbitMQ, wires: Wires, inbox_of: Any, message: Any
) -> None:
    async with TcpProxy.before(*broker.address) as proxy:
        active, standby, sender, begun = inbox_of(), inbox_of(), wires.connect(), asyncio.Event()

        async def hang(_: list[int]) -> None:
            begun.set()
            await asyncio.Event().wait()

        active.before = hang
        await wires.connect(through(proxy, wires.url, broker)).subscribe("shop", BAKED, active.receive)
        await wires.connect().subscribe("shop", BAKED, standby.receive)
        await sender.publish([message(number) for number in range(500)])
        await asyncio.wait_for(begun.wait(), 60)
        assert standby.numbers() == []
        proxy.cut()
        assert await standby.holds(500) == list(range(500))


async def test_a_broker_without_memory_is_told_of_and_goes_on_delivering(
    broker: RabbitMQ, wires: Wires, inbox_of: Any, message: Any
) -> None:
    inbox, sender, go_on = inbox_of(), wires.connect(), asyncio.Event()

    async def wait(_: list[int]) -> None:
        await go_on.wait()

    inbox.before = wait
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await sender.publish([message(number) for number in range(500)])
    await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "0.00001")
    try:
        batch = [message(number) for number in range(500, 600)]
        for _ in range(2):
            begun = time.monotonic()
            with pytest.raises(TransportUnavailable, match="lacks memory or disk"):
                await sender.publish(batch)
            assert time.monotonic() - begun < WITHIN_SECONDS
        go_on.set()
        assert await inbox.holds(500) == list(range(500))
    finally:
        await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "0.4")
    await wires.published(sender, *batch)
    assert await inbox.holds(600) == list(range(600))


async def test_a_full_queue_leaves_messages_with_the_sender_and_no_gap(
    broker: RabbitMQ, wires: Wires, inbox_of: Any, message: Any
) -> None:
    """The queue refuses and takes again many times within the batches."""
    prefix = BrokerUrl.read(wires.url).prefix
    policy = rf"^{prefix}\.shop$", '{"max-length": 20}'
    await asyncio.to_thread(broker.control, "set_policy", prefix, *policy, "--apply-to", "queues")
    inbox, sender, refused, done = inbox_of(), wires.connect(), asyncio.Event(), False

    async def wait_for_a_refusal(_: list[int]) -> None:
        await refused.wait()
        if not done:
            refused.clear()

    inbox.before = wait_for_a_refusal
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    refusals = 0
    for start in range(0, 4000, 200):
        batch = [message(number) for number in range(start, start + 200)]
        async with asyncio.timeout(60):
            while True:
                try:
                    await sender.publish(batch)
                    break
                except TransportUnavailable as error:
                    assert "a policy" in str(error)  # noqa: PT017 - it may or may not be raised
                    refusals += 1
                    refused.set()
    done = True
    refused.set()
    assert refusals > 10
    assert await inbox.holds(4000) == list(range(4000))


async def test_what_a_foreign_program_puts_into_the_queue_arrives_as_it_is(
    broker: RabbitMQ, wires: Wires, inbox_of: Any, message: Any
) -> None:
    inbox, sender = inbox_of(), wires.connect()
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    url = BrokerUrl.read(broker.url("any")).text
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = f"{BrokerUrl.read(wires.url).prefix}.shop"
        for garbage in (b"\xff\x00 no JSON", b""):
            await channel.default_exchange.publish(aio_pika.Message(garbage), queue)
    await sender.publish([message(1)])
    await inbox.holds(1)
    assert inbox.strange == [b"\xff\x00 no JSON", b""]


async def test_a_wrong_password_is_told_and_not_quoted(
    wires: Wires, inbox_of: Any, message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    transport = wires.connect(wires.url.replace("guest:guest@", "guest:hunter2@"))
    for ask in (transport.ping(), transport.publish([message(1)])):
        with pytest.raises(TransportUnavailable, match="refuses the user or the password") as told:
            await ask
        assert "hunter2" not in repr(told.value)
    with capture_logs() as logged:
        await transport.subscribe("shop", BAKED, inbox_of().receive)
    assert "refuses the user or the password" in str(logged)
    assert "hunter2" not in str(logged) + caplog.text


async def test_a_virtual_host_that_is_not_there_is_named_as_the_reason(wires: Wires) -> None:
    transport = wires.connect(wires.url.replace("/%2F", "/no-such-vhost"))
    with pytest.raises(TransportUnavailable, match="does not open the virtual host"):
        await transport.ping()


async def test_another_deployment_sees_nothing(broker: RabbitMQ, wires: Wires, inbox_of: Any, message: Any) -> None:
    ours, theirs = inbox_of(), inbox_of()
    await wires.connect().subscribe("shop", BAKED, ours.receive)
    other = wires.connect(broker.url(f"{BrokerUrl.read(wires.url).prefix}-other"))
    await other.subscribe("shop", BAKED, theirs.receive)
    await wires.connect().publish([message(1)])
    await other.publish([message(2)])
    assert await ours.holds(1) == [1]
    assert await theirs.holds(1) == [2]


def test_two_nodes_run_side_by_side_and_leave_no_process(broker: RabbitMQ, tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    second = RabbitMQ(tmp_path)
    second.start()
    started = set(psutil.Process().children(recursive=True)) - before
    assert {"epmd", "beam.smp", "erl_child_setup"} <= {process.name() for process in started}
    assert second.address != broker.address
    second.close()
    assert not [process for process in started if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
