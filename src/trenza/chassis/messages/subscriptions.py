"""Which events a service takes, noted in its database: what other processes must know to put them into its inbox."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import sqlalchemy as sa

from trenza.chassis.messages.tables import subscriptions

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from trenza.chassis.data import Database

__all__ = ["note_subscriptions", "noted_consumers"]

_all = sa.select(subscriptions.c.type, subscriptions.c.consumer)


async def note_subscriptions(database: Database, wanted: AbstractSet[tuple[str, str]]) -> None:
    """Replace what is noted by these pairs of type and consumer. Writes only where they differ."""
    async with database.read() as connection:
        noted = {(type_, consumer) for type_, consumer in await connection.execute(_all)}
    if noted == wanted:
        return
    async with database.work() as work:
        await work.execute(sa.delete(subscriptions))
        if wanted:
            await work.execute(
                sa.insert(subscriptions), [{"type": type_, "consumer": consumer} for type_, consumer in sorted(wanted)]
            )


async def noted_consumers(database: Database) -> dict[str, tuple[str, ...]]:
    """The consumers that a service has noted, by type. Needs its tables."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    async with database.read() as connection:
        for type_, consumer in await connection.execute(_all.order_by(subscriptions.c.type, subscriptions.c.consumer)):
            found[type_].append(consumer)
    return {type_: tuple(consumers) for type_, consumers in found.items()}
