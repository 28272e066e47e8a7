"""Those who use the services from outside: producers, whoever cancels a task, and operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.testing.simulation.workload import state_fact

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from trenza.chassis.data import Database
    from trenza.chassis.messages import Messages
    from trenza.chassis.testing.simulation.plan import Send

__all__ = ["cancel_one", "discard_blocking", "produce", "redrive_all"]


class Aborted(Exception):
    """A producer changes its mind."""


async def produce(database: Database, sends: Sequence[Send], note: Callable[[str, str], None], *, abort: bool) -> None:
    """Send messages in one unit of work, and raise at its end when it is to be aborted."""
    try:
        async with database.work() as work:
            for send in sends:
                await state_fact(work, send.message, **send.options)
            if abort:
                raise Aborted  # noqa: TRY301 - within the unit of work is where it has to be raised
    except (Aborted, DatabaseUnavailable) as error:
        note("producer", type(error).__name__)
    else:
        note("producer", f"sent {[send.message.number for send in sends]}")


async def cancel_one(orders: Messages, chance: random.Random, asked: set[UUID]) -> None:
    """Cancel a task that has not ended, and put it down in ``asked``."""
    try:
        if tasks := [task for task in (await orders.list()).tasks if not task.ended]:
            chosen = chance.choice(tasks).id
            asked.add(chosen)
            await orders.cancel(chosen)
    except DatabaseUnavailable:
        return  # whoever asked is told, and may ask again


async def redrive_all(services: Sequence[Messages]) -> None:
    """Let all dead letters be handled again."""
    try:
        for messages in services:
            await messages.dead_letters.redrive()
    except DatabaseUnavailable:
        return  # as above


async def discard_blocking(services: Sequence[Messages]) -> None:
    """Give up the dead letters that others of their ordering key wait for."""
    for messages in services:
        letters = (await messages.dead_letters.list()).letters
        if blocking := [letter.id for letter in letters if letter.blocks_key]:
            await messages.dead_letters.discard(ids=blocking)
