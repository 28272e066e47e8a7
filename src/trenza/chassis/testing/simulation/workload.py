"""Two services that exist to be simulated: their messages say how their handlers shall behave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import sqlalchemy as sa

from trenza.chassis.contract import Event, Message, Task, Value
from trenza.chassis.messages.definitions import Backoff, Delivery, Handler, Postpone, Reject, Schedule
from trenza.chassis.testing.simulation.witness import effects, facts

if TYPE_CHECKING:
    from trenza.chassis.data import UnitOfWork

__all__ = [
    "FOLLOW_UP",
    "HANDLERS",
    "SCHEDULES",
    "Conduct",
    "Fact",
    "Job",
    "Office",
    "Reply",
    "Trouble",
    "handler_of",
    "state_fact",
]

FOLLOW_UP = 1000
"""What a follow-up's number exceeds that of its cause by."""
_FOREVER = 1000.0


class Trouble(Exception):
    """What handlers raise that are told to fail."""


class Conduct(Value):
    """How the handlers of one message behave.

    The first ``fails`` attempts raise, the first ``stalls`` ones exceed their time. Otherwise the handler works for ``seconds``,
    and then ends its delivery with a unit of work when it ``writes``, in which it sends another message when it ``follows_up``.
    """

    seconds: float = 0.0
    fails: int = 0
    stalls: int = 0
    rejects: bool = False
    not_before: float = 0.0
    """It postpones itself until this virtual second."""
    writes: bool = True
    tells: bool = False
    """Whether it reports progress."""
    follows_up: bool = False


class _Numbered(Protocol):
    number: int
    key: str | None
    conduct: Conduct
    message_type: str


class Fact(Event, type="orders.Fact", key="key"):
    """What orders announces."""

    number: int
    key: str | None
    conduct: Conduct


class Reply(Event, type="billing.Reply", key="key"):
    """What billing answers."""

    number: int
    key: str | None
    conduct: Conduct


class Job(Task, type="orders.Job", key="key"):
    """What orders gives itself to do."""

    number: int
    key: str | None
    conduct: Conduct


class Round(Task, type="orders.Round"):
    """What orders does each minute."""

    number: int = 0
    key: str | None = None
    conduct: Conduct = Conduct()


class Office(Protocol):
    """What handlers are given: a service in one process."""

    def begins(self, consumer: str, message: Any, delivery: Delivery) -> None:
        """A handler is called."""
        ...


def _handler(message: type[Message], consumer: str, **options: Any) -> Handler:
    async def perform(office: Office, message: Any, delivery: Delivery) -> None:
        office.begins(consumer, message, delivery)
        await _perform(consumer, message, delivery)

    return Handler(message=message, function=perform, consumer=consumer, backoff=Backoff(base=0.5, cap=4.0), **options)


async def _perform(consumer: str, message: _Numbered, delivery: Delivery) -> None:
    conduct = message.conduct
    if delivery.attempt <= conduct.stalls:
        await asyncio.sleep(_FOREVER)
    if conduct.rejects:
        raise Reject("told to")
    if delivery.attempt <= conduct.fails:
        raise Trouble("told to")
    if asyncio.get_running_loop().time() < conduct.not_before:
        raise Postpone("told to", seconds=1.5)
    await asyncio.sleep(conduct.seconds)
    if conduct.tells:
        await delivery.progress(0.5, "half of it")
    if not conduct.writes:
        return
    async with delivery.finish() as work:
        await work.execute(
            sa.insert(effects),
            {
                "message_id": delivery.message_id,
                "consumer": consumer,
                "type": message.message_type,
                "key": message.key,
                "attempt": delivery.attempt,
            },
        )
        if conduct.follows_up and consumer == "book":
            await state_fact(work, Reply(number=message.number + FOLLOW_UP, key=message.key, conduct=Conduct()))
        elif conduct.follows_up and consumer == "settle_job":
            await state_fact(work, Job(number=message.number + FOLLOW_UP, key=None, conduct=Conduct()), unique_key="follow-up")


async def state_fact(work: UnitOfWork, message: Any, **options: Any) -> UUID:
    """Send a message, and note beside it that this was committed, if it is."""
    kind = "event" if isinstance(message, Event) else "task"
    sent = await (work.publish(message) if kind == "event" else work.enqueue(message, **options))
    await work.execute(sa.insert(facts), {"message_id": sent, "kind": kind, "number": message.number})
    return sent


HANDLERS: dict[str, tuple[Handler, ...]] = {
    "orders": (
        _handler(Fact, "note", attempts=5, timeout=8.0),
        _handler(Reply, "settle", attempts=5),
        _handler(Job, "settle_job", attempts=4, concurrency=2),
        _handler(Round, "go_round", attempts=4),
    ),
    "billing": (
        _handler(Fact, "book", attempts=5),
        _handler(Fact, "audit", attempts=3, blocks_key=True),
    ),
}
SCHEDULES: dict[str, tuple[Schedule, ...]] = {
    "orders": (Schedule("round", cron="* * * * *", task=Round(), priority=-1),),
    "billing": (),
}


def handler_of(consumer: str) -> Handler:
    """The handler that a consumer's name stands for."""
    return next(handler for handlers in HANDLERS.values() for handler in handlers if handler.consumer == consumer)
