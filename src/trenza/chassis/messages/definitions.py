"""How a service declares what it does with messages: handlers of tasks and events, and schedules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from uuid import UUID

from trenza.chassis.contract import Event, Message, Task
from trenza.chassis.data.work import UnitOfWork

__all__ = ["Backoff", "Delivery", "Handler", "LeaseLost", "Postpone", "Reject", "Retry", "Schedule", "handles", "reacts"]


class Reject(Exception):
    """Raised by a handler: this message can never succeed. It becomes a dead letter at once, with this reason."""


class Postpone(Exception):
    """Raised by a handler: not now, and not the message's fault (a dependency is down). Costs no attempt."""

    def __init__(self, reason: str, *, seconds: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.seconds = seconds


class Retry(Exception):
    """Raised by a handler: this attempt has failed, as was to be expected now and then (a receiver answers 500).

    It is used up like one that raised anything else, but the log tells the reason in a line, for there is no fault to look for.
    """


class LeaseLost(Exception):
    """Raised by `Delivery.finish` and `Delivery.progress`: this attempt no longer owns its message.

    A successor has taken it over, or somebody cancelled it. Nothing of this unit of work is stored. Let it pass.
    """


@dataclass(frozen=True)
class Backoff:
    """The wait before attempt n+1: ``base * factor**(n-1)`` seconds, at most ``cap``, with full jitter above a tenth of it."""

    base: float = 1.0
    factor: float = 2.0
    cap: float = 60.0

    def seconds(self, attempt: int, chance: float) -> float:
        """The wait after the given failed attempt (from 1); ``chance`` is uniform in [0, 1)."""
        ceiling = min(self.cap, self.base * self.factor ** min(attempt - 1, 64))
        return ceiling * (0.1 + 0.9 * chance)


class Delivery(Protocol):
    """One attempt at one message, as its handler sees it."""

    @property
    def message_id(self) -> UUID:
        """The id that stays the same over all attempts and redeliveries."""
        ...

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        ...

    @property
    def last_attempt(self) -> bool:
        """Whether a failure now makes it a dead letter."""
        ...

    def finish(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """The unit of work that ends this delivery: its writes, messages and the mark "handled" commit together.

        Raises `LeaseLost` when a successor has taken the message over or it was cancelled; nothing is then written. Call it at
        most once. A handler that returns without calling it is marked as handled in a transaction of its own.
        """
        ...

    async def progress(self, fraction: float, note: str = "") -> None:
        """Tell those who watch the task how far it is, from 0 to 1. Written at most four times a second.

        Must not be called inside a unit of work. Raises `LeaseLost` when the write finds that the message is no longer ours.
        """
        ...

    def step_key(self, step: str) -> str:
        """An idempotency key for an external effect of this message: the same at every attempt."""
        ...


HandlerFunction = Callable[[Any, Any, Delivery], Awaitable[None]]


@dataclass(frozen=True)
class Handler:
    """What a service does with one type of message. Called as ``function(implementation, message, delivery)``.

    ``consumer`` names it in the inbox and must stay the same over releases; handlers of several message types may share one, and
    their messages with the same ordering key are then handled in one order. ``timeout`` is in seconds per attempt;
    ``concurrency`` bounds how many run at once in one process (None: the worker's own limit). ``blocks_key`` makes later
    messages of the same ordering key wait for a dead letter instead of going on.
    """

    message: type[Message]
    function: HandlerFunction
    consumer: str
    attempts: int = 5
    timeout: float = 60.0
    concurrency: int | None = None
    backoff: Backoff = field(default_factory=Backoff)
    blocks_key: bool = False


H = TypeVar("H", bound=Callable[..., Awaitable[None]])


def handles(
    task: type[Task],
    *,
    attempts: int = 5,
    timeout: float = 60.0,
    concurrency: int | None = None,
    backoff: Backoff | None = None,
    blocks_key: bool = False,
    consumer: str | None = None,
) -> Callable[[H], Handler]:
    """Declare the handler of a task: ``@handles(RenderPhoto)`` above ``async def render(photos, order, delivery)``.

    The options are those of `Handler`; ``consumer`` defaults to the function's name.
    """
    return _declare(task, attempts, timeout, concurrency, backoff, blocks_key=blocks_key, consumer=consumer)


def reacts(
    event: type[Event],
    *,
    attempts: int = 10,
    timeout: float = 60.0,
    concurrency: int | None = None,
    backoff: Backoff | None = None,
    blocks_key: bool = False,
    consumer: str | None = None,
) -> Callable[[H], Handler]:
    """Declare a reaction to an event of this or another service, with the same options as `handles`."""
    return _declare(event, attempts, timeout, concurrency, backoff, blocks_key=blocks_key, consumer=consumer)


def _declare(
    message: type[Message],
    attempts: int,
    timeout: float,
    concurrency: int | None,
    backoff: Backoff | None,
    *,
    blocks_key: bool,
    consumer: str | None,
) -> Callable[[H], Handler]:
    def declare(function: H) -> Handler:
        return Handler(
            message=message,
            function=function,
            consumer=consumer or function.__name__,
            attempts=attempts,
            timeout=timeout,
            concurrency=concurrency,
            backoff=backoff or Backoff(),
            blocks_key=blocks_key,
        )

    return declare


@dataclass(frozen=True)
class Schedule:
    """A task that comes round: ``Schedule("purge", cron="0 2 * * *", timezone="Europe/Madrid", task=PurgePhotos())``.

    Every replica may try to fire it; the inbox's key (schedule, fire time) lets one through. Fire times missed while nothing ran
    are made up for once, not once each.
    """

    name: str
    cron: str
    task: Task
    timezone: str = "UTC"
    priority: int = -1
