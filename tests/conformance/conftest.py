"""Every transport over its real broker, and the table of what a run of the suite shows of each."""

from __future__ import annotations

import asyncio
import os
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from trenza.chassis.blobs import Blobs
from trenza.chassis.blobs.local import LocalBlobs
from trenza.chassis.blobs.signatures import UrlSigner
from trenza.chassis.clock import SystemClock
from trenza.chassis.identifiers import uuid7
from trenza.chassis.messages import open_transport
from trenza.chassis.messages.transports.base import Outgoing, Transport, TransportUnavailable
from trenza.chassis.messages.transports.misdirected import envelope_in
from trenza.chassis.testing.brokers import BROKERS, Broker, NotInstalled, broker_class, start_broker

PATIENCE = 60.0
"""Seconds within which everything has arrived, on a machine under load and after a broker's restart."""


def envelope(number: int, *, key: str | None = "a", type_: str = "bakery.Baked", padding: int = 0) -> Outgoing:
    """A message that says its number."""
    message_id = uuid7()
    body = {
        "specversion": "1.0",
        "id": str(message_id),
        "source": "trenza/bakery",
        "type": type_,
        "time": "2026-01-01T00:00:00+00:00",
        "data": {"number": number, "padding": "x" * padding},
    }
    if key is not None:
        body["orderingkey"] = key
    return Outgoing(message_id, type_, key, orjson.dumps(body).decode())


@dataclass
class Inbox:
    """What a service has received, as its inbox would: each message once, in the order of its first arrival."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    """Every arrival, the repeated ones too."""
    strange: list[str | bytes] = field(default_factory=list)
    """What is no envelope, or was refused by the transport."""
    before: Callable[[list[int]], Awaitable[None]] | None = None
    """Called with the numbers of a batch before it is stored; raising loses the acknowledgement."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self, bodies: Sequence[str | bytes]) -> None:
        read: list[dict[str, Any]] = []
        for body in bodies:
            envelope = envelope_in(body)
            if "data" in envelope:
                read.append(envelope)
            else:
                self.strange.append(body)
        if self.before is not None:
            await self.before([body["data"]["number"] for body in read])
        self.bodies += read
        self.changed.set()

    def numbers(self, key: str | None = None) -> list[int]:
        """Those received, each once; of one key when one is named."""
        once = {body["id"]: body for body in reversed(self.bodies)}
        kept = [body for body in self.bodies if once.get(body["id"]) is body]
        return [body["data"]["number"] for body in kept if key is None or body.get("orderingkey") == key]

    async def holds(self, count: int) -> list[int]:
        """The numbers, once there are so many."""
        await self.until(lambda: len(self.numbers()) >= count)
        return self.numbers()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what has been received."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class Wires:
    """Transports of one deployment, each as another process would have it."""

    def __init__(self, url: str, blobs: Blobs) -> None:
        self.url = url
        self._blobs = blobs
        self._open: list[Transport] = []

    def connect(self, url: str | None = None) -> Transport:
        """A transport of its own connections."""
        transport = open_transport(url or self.url, blobs=self._blobs, clock=SystemClock())
        self._open.append(transport)
        return transport

    @staticmethod
    async def published(transport: Transport, *messages: Outgoing) -> None:
        """Publish as the relay does: the whole batch again until it is taken."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await transport.publish(messages)
                except TransportUnavailable:
                    await asyncio.sleep(0.1)
                else:
                    return

    async def close(self) -> None:
        for transport in self._open:
            await transport.close()


HEAD = """# What each transport guarantees

Written by `make conformance` on {date}, from a run of `tests/conformance` with {events:,} events and {kills} kills a test, over
real servers on loopback. No Apache Kafka and no AWS was at hand: Tansu and noida-db speak the one's protocol, ministack the
other's.

"""
_PLACE = re.compile(r"tests/conformance/(test_transports|test_network|test_effects)\.py::(test_[a-z_0-9]+)\[([^\]]+)\]")


class Table:
    """Collects the outcome of each test that runs over every broker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._reasons: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note one phase of one test."""
        found = _PLACE.match(report.nodeid)
        broker = next((name for name in BROKERS if found and name in found[3].split("-")), None)
        if found is None or broker is None or (report.when != "call" and report.passed):
            return
        outcome = "fails" if report.failed else "yes"
        if report.skipped:
            assert isinstance(report.longrepr, tuple)
            reason = str(report.longrepr[2]).removeprefix("Skipped: ")
            if reason not in self._reasons:
                self._reasons.append(reason)
            outcome = f"no ({self._reasons.index(reason) + 1})"
        self._outcomes[found[2].removeprefix("test_").replace("_", " ")][broker].add(outcome)

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        brokers = [name for name in BROKERS if any(name in row for row in self._outcomes.values())]
        events, kills = (int(os.environ.get(f"CONFORMANCE_{name}", default)) for name, default in (("EVENTS", 300), ("KILLS", 2)))
        page = HEAD.format(date=datetime.now(UTC).date().isoformat(), events=events, kills=kills)
        page += (
            "| " + " | ".join(("", *(broker_class(name).name for name in brokers))) + " |\n|" + "---|" * (len(brokers) + 1) + "\n"
        )
        for guarantee, row in self._outcomes.items():
            cells = (", ".join(sorted(row[name])) if name in row else "" for name in brokers)
            page += f"| {guarantee[0].upper()}{guarantee[1:]} | " + " | ".join(cells) + " |\n"
        if self._reasons:
            page += "\n" + "\n".join(f"{number}. {reason}" for number, reason in enumerate(self._reasons, 1)) + "\n"
        self._path.write_text(page)


def pytest_configure(config: pytest.Config) -> None:
    """Write the table where one is asked for; of the processes of a run, the one that hears of all tests does."""
    path = os.environ.get("CONFORMANCE_TABLE")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(Path(path)))


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="session", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in BROKERS])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real broker; every test of the suite runs over each."""
    try:
        broker = start_broker(request.param, tmp_path_factory.mktemp(request.param))
    except NotInstalled as error:
        pytest.skip(f"not installed: {error}")  # the summary of the run lists it
    try:
        with _environment(broker.environment()):
            yield broker
    finally:
        broker.close()


@pytest.fixture
def url(broker: Broker) -> str:
    """The way to the broker, with names of this test alone."""
    return broker.url(f"t{uuid4().hex[:12]}")


@pytest.fixture
async def wires(request: pytest.FixtureRequest, broker: Broker, url: str, tmp_path: Path) -> AsyncIterator[Wires]:
    """Transports of this test alone on the broker, and an object store."""
    if reason := broker.faults.get(request.function.__name__):
        pytest.skip(reason)
    signer = UrlSigner(b"k" * 32, public_url="http://127.0.0.1:8000")
    blobs = LocalBlobs(tmp_path / "blobs", spool=tmp_path / "spool", url_signer=signer)
    wires = Wires(url, blobs)
    yield wires
    await wires.close()
    await blobs.close()


@pytest.fixture
def inbox_of() -> type[Inbox]:
    """Makes inboxes."""
    return Inbox


@pytest.fixture
def message() -> Callable[..., Outgoing]:
    """Makes messages."""
    return envelope
