"""The line to a broker is cut, stalled or slow: everything that a test connects goes through a proxy before the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from trenza.chassis.messages.transports import aws_queues
from trenza.chassis.messages.transports.base import TransportUnavailable
from trenza.chassis.testing.brokers.noida import Noida
from trenza.chassis.testing.brokers.tansu import Tansu
from trenza.chassis.testing.server_process import free_port
from trenza.chassis.testing.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from tests.conformance.conftest import Wires

    from trenza.chassis.testing.brokers import Broker

BAKED = frozenset({"bakery.Baked"})
KEYS = 5
SILENT = "does not answer|has not confirmed|no answer in time"
WITHIN_SECONDS = 10.5
"""Ten, as promised, and a little for a machine under load."""
STOP_SECONDS = 20.0
"""Less than a drain may take."""


@pytest.fixture
async def proxy(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TcpProxy]:
    """What every transport of the test goes through."""
    if isinstance(broker, Noida):
        pytest.skip(f"{broker.name} tells its clients its own address, so that they go past a proxy")
    if isinstance(broker, Tansu):  # it is told at its start which address it tells its clients, so each test has one of its own
        with closing(Tansu(tmp_path)) as own:
            own.told_port = free_port()
            own.start()
            async with TcpProxy.before(*own.address, listens_on=own.told_port) as proxy:
                yield proxy
        return
    async with TcpProxy.before(*broker.address) as proxy:
        for name, value in broker.environment().items():
            monkeypatch.setenv(name, _rerouted(value, broker, proxy))
        yield proxy


@pytest.fixture
def url(broker: Broker, proxy: TcpProxy) -> str:
    """For `wires`: the way through the proxy."""
    return _rerouted(broker.url(f"t{uuid4().hex[:12]}"), broker, proxy)


def _rerouted(text: str, broker: Broker, proxy: TcpProxy) -> str:
    return text.replace(f"127.0.0.1:{broker.address[1]}", f"127.0.0.1:{proxy.port}")


@pytest.fixture
def held_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQS gives what a lost answer held to nobody for a while; let that be a second."""
    monkeypatch.setattr(aws_queues, "_HELD_SECONDS", 1)


def batch(message: Any, first: int, last: int) -> list[Any]:
    """Messages of several keys, from one number to before another; some hundred of them fill many packets."""
    return [message(number, key=f"key-{number % KEYS}", padding=2000) for number in range(first, last)]


def in_order(inbox: Any, count: int) -> None:
    """Show that each of ``count`` messages is there, and those of each key in their order."""
    assert sorted(inbox.numbers()) == list(range(count))
    for key in range(KEYS):
        assert inbox.numbers(f"key-{key}") == list(range(key, count, KEYS))


async def refused(asked: Awaitable[None]) -> None:
    """Show that it fails in the time that is promised, and is told for what it is."""
    begun = time.monotonic()
    with pytest.raises(TransportUnavailable, match=SILENT):
        await asked
    assert time.monotonic() - begun < WITHIN_SECONDS


@pytest.mark.usefixtures("held_briefly")
async def test_a_receiver_that_is_cut_off_comes_back_and_misses_nothing(
    proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any
) -> None:
    """Each time while it handles a batch, whose acknowledgement is lost by that."""
    inbox, sender, turns, uncut = inbox_of(), wires.connect(), 3, set[int]()

    async def cut_once_a_turn(numbers: list[int]) -> None:
        if uncut.intersection(numbers):
            uncut.clear()
            proxy.cut()

    inbox.before = cut_once_a_turn
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    for turn in range(turns):
        first, last = turn * 100, turn * 100 + 100
        uncut |= set(range(first, last))
        await wires.published(sender, *batch(message, first, last))
        await inbox.holds(last)
        assert not uncut
    await wires.published(sender, message(turns * 100, key="key-0"))
    await inbox.holds(turns * 100 + 1)
    in_order(inbox, turns * 100 + 1)


@pytest.mark.usefixtures("held_briefly")
async def test_a_sender_that_is_cut_off_leaves_no_gap(proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender, cuts = inbox_of(), wires.connect(), 3
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await wires.published(sender, message(0, key="key-0"))
    for cut in range(cuts):
        proxy.seconds_a_chunk = 0.005  # a batch is on its way for 25 such moments
        sending = asyncio.create_task(wires.published(sender, *batch(message, cut * 200 + 1, cut * 200 + 201)))
        await proxy.passed(100_000)
        assert not sending.done()
        proxy.cut()
        proxy.seconds_a_chunk = 0.0
        await sending
    await inbox.holds(cuts * 200 + 1)
    in_order(inbox, cuts * 200 + 1)


@pytest.mark.usefixtures("held_briefly")
async def test_a_broker_that_does_not_answer_is_given_up_within_seconds(
    proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any
) -> None:
    inbox, sender = inbox_of(), wires.connect()
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await wires.published(sender, message(0, key="key-0"))
    await inbox.holds(1)
    waiting = batch(message, 1, 50)
    fresh = wires.connect()
    proxy.stall()
    try:
        await asyncio.gather(refused(sender.publish(waiting)), refused(sender.ping()), refused(fresh.publish(waiting)))
    finally:
        proxy.flow()
    await wires.published(sender, *waiting)
    await inbox.holds(50)
    in_order(inbox, 50)
    await sender.ping()


async def test_a_slow_line_only_slows(proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender = inbox_of(), wires.connect()
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await sender.publish([message(0, key="key-0")])
    await inbox.holds(1)
    proxy.seconds_a_chunk = 0.05
    begun = time.monotonic()
    await sender.publish(batch(message, 1, 100))
    assert time.monotonic() - begun > 0.5, "it was not slow"
    await inbox.holds(100)
    in_order(inbox, 100)
    assert len(inbox.bodies) == 100, "repeated"


async def test_a_broker_that_does_not_answer_holds_up_no_stop(proxy: TcpProxy, wires: Wires, inbox_of: Any, message: Any) -> None:
    """Least of all while it owes the answer to an acknowledgement."""
    inbox, sender, receiver = inbox_of(), wires.connect(), wires.connect()

    async def stall(_: list[int]) -> None:
        proxy.stall()

    inbox.before = stall
    await receiver.subscribe("shop", BAKED, inbox.receive)
    sending = asyncio.create_task(wires.published(sender, message(0)))
    await inbox.holds(1)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await receiver.unsubscribe("shop")
            await receiver.close()
    finally:
        proxy.flow()
    await sending
