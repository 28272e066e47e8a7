"""The line to AWS is cut, stalled or slow: ministack behind a proxy, for those transports that a test connects through it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any

import pytest

from trenza.chassis.messages.transports import aws_queues
from trenza.chassis.messages.transports.base import Transport, TransportUnavailable
from trenza.chassis.testing.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from tests.conformance.conftest import Wires

    from trenza.chassis.testing.brokers import Broker

pytestmark = pytest.mark.parametrize(
    "broker", [pytest.param("ministack", marks=pytest.mark.xdist_group("ministack"))], indirect=True, scope="session"
)
BAKED = frozenset({"bakery.Baked"})
KEYS = 5
WITHIN_SECONDS = 10.5
"""Ten, as promised, and a little for a machine under load."""


@pytest.fixture
async def proxy(broker: Broker) -> AsyncIterator[TcpProxy]:
    async with TcpProxy.before(*broker.address) as proxy:
        yield proxy


async def through(proxy: TcpProxy, wires: Wires) -> Transport:
    """A transport that talks through the proxy, which it does from its first call on."""
    transport = wires.connect()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        await transport.ping()
    return transport


def in_order(inbox: Any, count: int) -> None:
    """Show that each of ``count`` messages is there, and those of each key in their order."""
    assert sorted(inbox.numbers()) == list(range(count))
    for key in range(KEYS):
        assert inbox.numbers(f"key-{key}") == list(range(key, count, KEYS))


async def refused(asked: Awaitable[None]) -> None:
    """Show that it fails in the time that is promised."""
    begun = time.monotonic()
    with pytest.raises(TransportUnavailable):
        await asked
    assert time.monotonic() - begun < WITHIN_SECONDS


async def test_a_receiver_that_is_cut_off_comes_back_and_misses_nothing(
    proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a cut call had been given comes again, before what follows it in its key."""
    monkeypatch.setattr(aws_queues, "_HELD_SECONDS", 1)
    inbox, sender = inbox_of(), wires.connect()
    await (await through(proxy, wires)).subscribe("shop", BAKED, inbox.receive)
    for turn in range(2):
        first = turn * 50
        sending = asyncio.create_task(
            wires.published(sender, *(message(number, key=f"key-{number % KEYS}") for number in range(first, first + 50)))
        )
        await inbox.until(lambda: len(inbox.numbers()) > first)  # noqa: B023 - it ends within the turn
        proxy.cut()
        await sending
    await inbox.holds(100)
    in_order(inbox, 100)


async def test_a_sender_that_is_cut_off_leaves_no_gap(proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender, lines = inbox_of(), await through(proxy, wires), 3
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    for line in range(lines):
        first = line * 50
        batch = [message(number, key=f"key-{number % KEYS}") for number in range(first, first + 50)]
        sending = asyncio.create_task(wires.published(sender, *batch))
        await inbox.until(lambda: len(inbox.numbers()) > first)  # noqa: B023 - it ends within the turn
        proxy.cut()
        await sending
    await inbox.holds(lines * 50)
    in_order(inbox, lines * 50)


async def test_an_aws_that_does_not_answer_is_given_up_within_seconds(
    proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_queues, "_HELD_SECONDS", 1)
    inbox, sender, receiver = inbox_of(), await through(proxy, wires), await through(proxy, wires)
    await receiver.subscribe("shop", BAKED, inbox.receive)
    await wires.published(sender, message(0, key="key-0"))
    await inbox.holds(1)
    batch = [message(number, key=f"key-{number % KEYS}") for number in range(1, 50)]
    proxy.stall()
    await asyncio.gather(refused(sender.publish(batch)), refused(receiver.ping()))
    proxy.flow()
    await wires.published(sender, *batch)
    await inbox.holds(50)
    in_order(inbox, 50)
    await sender.ping()


async def test_a_slow_line_only_slows(proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender, receiver = inbox_of(), await through(proxy, wires), await through(proxy, wires)
    await receiver.subscribe("shop", BAKED, inbox.receive)
    proxy.seconds_a_chunk = 0.05
    begun = time.monotonic()
    await sender.publish([message(number, key=f"key-{number % KEYS}") for number in range(50)])
    assert time.monotonic() - begun > 0.5, "it was not slow"  # ten turns, there and back
    await inbox.holds(50)
    in_order(inbox, 50)
    assert len(inbox.bodies) == 50, "repeated"
