"""Named points of the code at which fault tests stop a process, as a power cut or a SIGKILL would."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

__all__ = ["Failpoint", "killing_at", "parse_failpoint", "reached", "watching"]


class Failpoint(StrEnum):
    """Where a process can be stopped: what it has done already, and what it has not done yet."""

    WORK_BEFORE_COMMIT = "work.before_commit"
    """Any unit of work, a producer's among them: everything is written, nothing is committed."""
    WORK_COMMITTED = "work.committed"
    """Any unit of work: it is durable; nobody in this process has been woken for it."""

    RELAY_CLAIMED = "relay.claimed"
    """The relay holds its lease and a batch that it has not published."""
    RELAY_PUBLISHED = "relay.published"
    """The transport has the batch; the outbox does not know it."""
    RELAY_BEFORE_MARK = "relay.before_mark"
    """The batch is marked as sent in a transaction that is not committed."""
    RELAY_MARKED = "relay.marked"
    """The batch is marked as sent, and the lease may have been given back."""

    INBOX_BEFORE_STORE = "inbox.before_store"
    """A delivered batch is parsed and not stored."""
    INBOX_STORED = "inbox.stored"
    """A delivered batch is stored; the transport has no acknowledgement."""

    WORKER_RECOVERED = "worker.recovered"
    """What fell due and leases that ran out are freed, in the transaction of the claim."""
    WORKER_CLAIMING = "worker.claiming"
    """Messages are claimed in a transaction that is not committed."""
    WORKER_CLAIMED = "worker.claimed"
    """Messages are claimed, their attempts counted; no handler has begun."""

    HANDLER_BEGINS = "handler.begins"
    """The handler is about to be called."""
    HANDLER_FINISHING = "handler.finishing"
    """The handler has done its outside work and opens the unit of work that ends its delivery."""
    HANDLER_GUARDED = "handler.guarded"
    """The delivery is marked as handled, uncommitted; the handler's writes follow."""
    HANDLER_BEFORE_COMMIT = "handler.before_commit"
    """The handler's writes stand beside the mark, uncommitted."""
    HANDLER_COMMITTED = "handler.committed"
    """The delivery has ended in the database; its worker does not know it."""
    HANDLER_RETURNED = "handler.returned"
    """The handler has returned or raised; how it ended may still have to be recorded."""
    ENDING_BEFORE_COMMIT = "ending.before_commit"
    """A retry, a postponement, a release or a dead letter is written, uncommitted."""
    ENDING_RECORDED = "ending.recorded"
    """A retry, a postponement, a release or a dead letter is recorded."""
    MARKS_BEFORE_COMMIT = "marks.before_commit"
    """Handlers that wrote nothing are marked as handled together, uncommitted."""
    MARKS_COMMITTED = "marks.committed"
    """Handlers that wrote nothing are marked as handled together."""

    HEARTBEAT_BEFORE = "heartbeat.before"
    """Leases are about to be prolonged."""
    HEARTBEAT_EXTENDED = "heartbeat.extended"
    """Leases are prolonged; what was lost or cancelled still runs."""

    SCHEDULE_ADVANCED = "schedule.advanced"
    """A fire time is settled, uncommitted; its task is not enqueued yet."""
    SCHEDULE_FIRED = "schedule.fired"
    """A fire time's task is enqueued and committed."""

    CANCEL_ASKED = "cancel.asked"
    """A cancellation is committed; the worker of the same process does not know it."""
    MAINTENANCE_ADOPTING = "maintenance.adopting"
    """Messages that nobody handled are given to their handlers, uncommitted."""
    MAINTENANCE_PURGING = "maintenance.purging"
    """Ended messages are deleted, uncommitted."""
    LETTERS_REDRIVING = "letters.redriving"
    """Dead letters wait to be handled again, uncommitted."""


_watcher: Callable[[Failpoint], None] | None = None


def reached(point: Failpoint) -> None:
    """Tell whoever watches that the code has come to this point. Costs a function call when nobody does."""
    if _watcher is not None:
        _watcher(point)


@contextmanager
def watching(watcher: Callable[[Failpoint], None]) -> Iterator[None]:
    """Call ``watcher`` at each point that this process reaches during the block.

    What stops a simulated process must be no ordinary `Exception`: handlers and loops record those and go on.
    """
    global _watcher  # noqa: PLW0603 - one variable, so that an unwatched point costs one look at it
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before


def parse_failpoint(text: str) -> tuple[Failpoint, int]:
    """``relay.published:3`` as the point and how often it must be reached; ``relay.published`` means the first time.

    Raises `ValueError` that says what may be written.
    """
    name, _, count = text.partition(":")
    try:
        point = Failpoint(name)
    except ValueError:
        raise ValueError(f"no point is called {name!r}; there are {', '.join(Failpoint)}") from None
    if count and not (count.isascii() and count.isdigit() and int(count) > 0):
        raise ValueError(f"{count!r} after the colon is no number from 1: write {point}:3 for the third time")
    return point, int(count or 1)


@contextmanager
def killing_at(point: Failpoint, count: int) -> Iterator[None]:
    """Let this process kill itself with SIGKILL when it reaches a point for the ``count``-th time during the block."""
    left = count

    def kill(at: Failpoint) -> None:
        nonlocal left
        if at is point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    with watching(kill):
        yield
