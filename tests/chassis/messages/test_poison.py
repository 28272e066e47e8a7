"""Messages that no inbox can store hold up nothing else, and are seen."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import orjson
import pytest
import sqlalchemy as sa

from trenza.chassis.contract import Event
from trenza.chassis.data import Database
from trenza.chassis.identifiers import uuid7
from trenza.chassis.messages.definitions import Delivery, reacts
from trenza.chassis.messages.envelope import MAXIMUM_ENVELOPE_BYTES, MessageTooLarge


class Baked(Event, type="bakery.Baked", key="oven"):
    """A loaf has come out of an oven."""

    loaf: int
    oven: str = "left"


def body(loaf: int, **attributes: Any) -> str:
    """An envelope as it arrives, with these attributes instead of usual ones."""
    usual: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(uuid7()),
        "source": "trenza/bakery",
        "type": "bakery.Baked",
        "time": "2026-01-01T00:00:00+00:00",
        "orderingkey": "left",
        "data": {"loaf": loaf, "oven": "left"},
    }
    return orjson.dumps(usual | attributes).decode()


POISON = {
    "a key that no index takes": {"orderingkey": "k" * 6000},
    "NUL in its key": {"orderingkey": "a\0b"},
    "NUL in its type": {"type": "bakery.Ba\0ked"},
    "a type that no index takes": {"type": "bakery." + "x" * 6000},
    "more than an inbox holds": {"data": {"loaf": 2, "padding": "x" * MAXIMUM_ENVELOPE_BYTES}},
}


@pytest.mark.parametrize("attributes", POISON.values(), ids=POISON)
async def test_what_cannot_be_stored_is_a_dead_letter_and_holds_up_nothing(service_of: Any, attributes: dict[str, Any]) -> None:
    arrived: list[int] = []
    both = asyncio.Event()

    @reacts(Baked)
    async def shelve(_: Any, event: Baked, __: Delivery) -> None:
        arrived.append(event.loaf)
        if len(arrived) > 1:
            both.set()

    messages = service_of(shelve)
    await messages.start()
    await messages.receive([body(1), body(2, **attributes), body(3)])
    await asyncio.wait_for(both.wait(), 30)
    assert arrived == [1, 3]
    (letter,) = (await messages.dead_letters.list()).letters
    assert (letter.reason, letter.attempts, letter.blocks_key) == ("unreadable", 0, False)
    assert len(letter.envelope) < MAXIMUM_ENVELOPE_BYTES / 10


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)  # SQLite takes any text
async def test_what_the_database_alone_refuses_is_a_dead_letter_too(service_of: Any, database: Database) -> None:
    async with database.work() as work:  # a limit that this release does not know of
        await work.execute(sa.text("ALTER TABLE inbox ALTER COLUMN type TYPE varchar(100)"))
    messages = service_of()
    await messages.receive([body(1, type="bakery.Burnt"), body(2, type="bakery." + "x" * 500), body(3, type="bakery.Burnt")])
    (letter,) = (await messages.dead_letters.list()).letters
    assert "value too long" in (letter.error or "")
    async with database.read() as connection:
        assert await connection.scalar(sa.text("SELECT count(*) FROM inbox WHERE type = 'bakery.Burnt'")) == 2


@pytest.mark.parametrize("oven", ["o" * 1025, "a\0b", "ñ" * 513])
async def test_an_ordering_key_that_is_no_key_is_refused_where_it_is_published(
    service_of: Any, database: Database, oven: str
) -> None:
    service_of()
    with pytest.raises(MessageTooLarge, match="order by an identifier"):
        async with database.work() as work:
            await work.publish(Baked(loaf=1, oven=oven))
    async with database.work() as work:
        assert isinstance(await work.publish(Baked(loaf=1, oven="o" * 1024)), UUID)
