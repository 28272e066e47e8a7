"""What programs that are none of ours may send: copies, other messages under known ids, and tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

import orjson
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from trenza.chassis.contract import Event, Task
from trenza.chassis.data import Database
from trenza.chassis.identifiers import uuid7
from trenza.chassis.messages import Messages
from trenza.chassis.messages.definitions import Delivery, handles, reacts
from trenza.chassis.messages.maintenance import ORPHAN_GRACE
from trenza.chassis.messages.reception import UNREADABLE
from trenza.chassis.messages.tables import inbox

IGNORED = "message ignored, another has its id"


class Ordered(Event, type="crm.Ordered", key="customer"):
    """Somebody has ordered something."""

    article: str
    customer: str = "c1"


class Wipe(Task, type="shop.Wipe"):
    """Wipe all the shelves."""


class Shop:
    """A service that reacts to orders and has a task of its own, and what its handlers were given."""

    def __init__(self) -> None:
        self.orders: asyncio.Queue[str] = asyncio.Queue()
        self.wiped = asyncio.Event()

    def handlers(self) -> tuple[Any, Any]:
        @reacts(Ordered)
        async def pack(_: Any, event: Ordered, __: Delivery) -> None:
            self.orders.put_nowait(event.article)

        @handles(Wipe)
        async def wipe(_: Any, __: Wipe, ___: Delivery) -> None:
            self.wiped.set()

        return pack, wipe

    async def packed(self, *wanted: str) -> None:
        """Wait until so much is packed; it must be this, in this order, and no more."""
        async with asyncio.timeout(20):
            assert [await self.orders.get() for _ in wanted] == list(wanted)
        assert self.orders.empty()


def body(article: str = "tea", **attributes: Any) -> bytes:
    usual = {
        "specversion": "1.0",
        "id": str(uuid7()),
        "source": "https://crm.example.org/orders",
        "type": "crm.Ordered",
        "time": "2026-01-01T00:00:00Z",
        "orderingkey": "c1",
        "data": {"article": article, "customer": "c1"},
    }
    return orjson.dumps(usual | attributes)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
async def messages(service_of: Any, shop: Shop) -> Messages:
    messages: Messages = service_of(*shop.handlers())
    await messages.start()
    return messages


async def received(messages: Messages, bodies: Sequence[bytes]) -> list[str]:
    """The ids of those that the log says are ignored."""
    with capture_logs() as logged:
        await messages.receive(bodies)
    return [line["message_id"] for line in logged if line["event"] == IGNORED]


async def test_copies_change_nothing_and_are_no_news(messages: Messages, shop: Shop) -> None:
    first = orjson.loads(body("tea"))
    copy = dict(reversed(first.items())) | {"data": dict(reversed(first["data"].items()))}
    bodies = [orjson.dumps(first), orjson.dumps(copy), orjson.dumps(first | {"id": first["id"].upper()})]
    assert await received(messages, bodies) == []
    assert await received(messages, [*bodies, body("milk")]) == []
    await shop.packed("tea", "milk")


@pytest.mark.parametrize("at_once", [True, False], ids=["in one batch", "later"])
async def test_another_message_under_a_known_id_is_ignored_and_told(messages: Messages, shop: Shop, *, at_once: bool) -> None:
    id_ = str(uuid7())
    first, other, stranger = body("tea", id=id_), body("gold", id=id_), body("tea", id=id_, source="somebody else")
    if at_once:
        assert await received(messages, [first, other, stranger]) == [id_, id_]
    else:
        assert await received(messages, [first]) == []
        assert await received(messages, [other]) == [id_]
        assert await received(messages, [stranger]) == [id_]
    await messages.receive([body("milk")])
    await shop.packed("tea", "milk")


async def test_they_are_handled_in_the_order_of_their_arrival(messages: Messages, shop: Shop) -> None:
    times = {"new": "2026-01-02T00:00:00Z", "old": "2026-01-01T00:00:00Z"}
    await messages.receive([body(article, time=time) for article, time in times.items()])
    await shop.packed("new", "old")


async def test_a_stranger_keeps_its_name(messages: Messages, database: Database) -> None:
    await messages.receive([body()])
    async with database.read() as connection:
        stored = await connection.scalar(sa.select(inbox.c.envelope))
    assert orjson.loads(stored or "")["source"] == "https://crm.example.org/orders"


async def test_an_id_that_somebody_has_worked_out_holds_up_nothing(messages: Messages, shop: Shop) -> None:
    junk = b"no envelope"
    id_ = str(uuid5(UNREADABLE, junk.hex()))
    assert await received(messages, [junk]) == []
    assert await received(messages, [body("tea", id=id_)]) == []
    await shop.packed("tea")


async def test_tasks_are_taken_from_the_service_itself_alone(service_of: Any, shop: Shop, clock: Any) -> None:
    messages: Messages = service_of(*shop.handlers(), clock=clock)
    task = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    await messages.receive([body(id=str(task), source="trenza/shop", type="shop.Wipe", data={})])
    await messages.maintenance.settle_orphans()
    clock.advance(ORPHAN_GRACE.total_seconds() + 1)
    await messages.maintenance.settle_orphans()
    (letter,) = await messages.dead_letters.show(task)
    assert (letter.reason, letter.consumer) == ("no_handler", "")
    assert await messages.dead_letters.redrive() == 1
    await messages.start()
    await messages.receive([body("tea")])
    await shop.packed("tea")
    await messages.maintenance.settle_orphans()
    clock.advance(ORPHAN_GRACE.total_seconds() + 1)
    await messages.maintenance.settle_orphans()
    assert [letter.id for letter in (await messages.dead_letters.list()).letters] == [task]
    assert not shop.wiped.is_set()
