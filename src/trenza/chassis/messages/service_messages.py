"""All that a service does with messages, in one object: its outbox, inbox, tasks and schedules."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trenza.chassis.messages.board import Board, TaskPage, TaskState, TaskStateName
from trenza.chassis.messages.claims import end_leases
from trenza.chassis.messages.dead_letters import DeadLetters
from trenza.chassis.messages.handlers import Handlers
from trenza.chassis.messages.inbox import Inbox
from trenza.chassis.messages.maintenance import Maintenance
from trenza.chassis.messages.news import EVENTS_NOTICE, WORK_NOTICE, News
from trenza.chassis.messages.outbox import Outbox
from trenza.chassis.messages.overview import Overview
from trenza.chassis.messages.reception import Reception
from trenza.chassis.messages.relay import Relay
from trenza.chassis.messages.schedules import Scheduler
from trenza.chassis.messages.subscriptions import note_subscriptions
from trenza.chassis.messages.transports.local import LocalTransport
from trenza.chassis.messages.worker import Worker

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from trenza.chassis.clock import Clock
    from trenza.chassis.contract import Event, Task
    from trenza.chassis.data import Database
    from trenza.chassis.messages.definitions import Handler, Schedule
    from trenza.chassis.messages.transports.base import Transport
    from trenza.chassis.settings import PlatformSettings

__all__ = ["Messages", "NotStored"]

_chance = random.SystemRandom().random
_FLUSH_SECONDS = 5.0
"""How long a drain tries to hand over the outbox when its own time is used up already."""
_REMEMBERED = timedelta(minutes=2)
"""Transports bring what was not stored again sooner than this; or they have brought it to another process meanwhile."""


class NotStored(Exception):
    """Messages have arrived that the inbox could not store; they are kept where they came from, and come again."""


class Messages:
    """The messages of one service in one process: the `MessageWriter` of its database and the `TaskBoard` of its tasks.

    Give it to the database (``database.messages = messages``), connect it (``LocalTransport().connect(a, b)``; alone it reaches
    itself), then ``await messages.start(implementation)`` after the migrations, and ``await messages.drain(seconds)`` at the end.
    Raises `TypeError` or `ValueError` for declarations that cannot work.
    """

    def __init__(  # noqa: PLR0917 - the six parts that `runtime.assembly` puts together, named there
        self,
        database: Database,
        service_name: str,
        handlers: Sequence[Handler],
        schedules: Sequence[Schedule],
        clock: Clock,
        settings: PlatformSettings,
        *,
        chance: Callable[[], float] = _chance,
    ) -> None:
        """``chance`` gives numbers from 0 to 1, evenly; simulations make it repeat itself."""
        self.service_name = service_name
        self.dead_letters = DeadLetters(database, clock)
        self._handlers = Handlers(handlers)
        for schedule in schedules:
            self._handlers.of_task(schedule.task.message_type)  # LookupError now rather than at the first fire time
        self.overview = Overview(database, self._handlers)
        self._database = database
        self._clock = clock
        self._inbox = Inbox(service_name, self._handlers, clock)
        self._reception = Reception(database, service_name, clock)
        self._outbox = Outbox(database, service_name, clock)
        self._board = Board(database, clock)
        self._news = news = News(database, service_name)
        self._worker = Worker(
            database,
            service_name,
            self._handlers,
            clock,
            concurrency=settings.worker_concurrency,
            chance=chance,
            ended=self._board.changed,
            crowded=lambda: news.announce(WORK_NOTICE),
            longest_pause=lambda: news.longest_pause,
        )
        self._relay = Relay(self._outbox, service_name, longest_pause=lambda: news.longest_pause)
        self._scheduler = Scheduler(database, service_name, schedules, inbox=self._inbox, clock=clock, fired=self._worker.wake)
        self.maintenance = Maintenance(database, service_name, self._handlers, clock, self._worker.wake)
        self._transport: Transport | None = None
        self._subscribed = self._started = False
        self._not_stored: tuple[datetime, str] | None = None
        """When messages last arrived in vain, and why; None when the last ones were stored."""

    @property
    def event_types(self) -> frozenset[str]:
        """The types of events that this service reacts to."""
        return self._handlers.event_types

    def use(self, transport: Transport) -> None:
        """Exchange messages with other services through this transport. Call it before `start`."""
        self._transport = transport

    async def take_over(self) -> None:
        """End the leases of all other processes, so that what they left in mid-work goes on at once.

        For a process that knows to be alone on this database, before `start`. Where it errs, work may be done twice but takes
        effect once: whoever lost a lease cannot finish.
        """
        async with self._database.work() as work:
            await end_leases(work, self._clock.now())

    async def subscribe(self) -> None:
        """Receive events from now on; `start` does so too. Of several services all subscribe before the first one starts."""
        if self._transport is None:
            LocalTransport().connect(self)
        if not self._subscribed:
            self._subscribed = True
            await note_subscriptions(self._database, self._handlers.subscriptions)
            await self._connected().subscribe(self.service_name, self.event_types, self.receive)

    async def start(self, implementation: Any = None) -> None:
        """Begin to relay, to handle (handlers get ``implementation`` as their first argument) and to fire schedules."""
        await self.subscribe()
        transport = self._connected()
        self._started = True
        self._news.start(self._relay, self._worker)
        self._relay.start(transport)
        self._worker.start(implementation)
        await self._scheduler.start()
        self.maintenance.start()

    async def drain(self, timeout: float) -> None:
        """Stop within about ``timeout`` seconds: claim no more, let running handlers end, release the others, flush the outbox.

        Calling it again, or without `start`, does nothing.
        """
        if self._transport is None or not self._subscribed:
            return
        self._subscribed = self._started = False
        started = asyncio.get_running_loop().time()
        await self._news.stop()
        await self._scheduler.stop()
        await self.maintenance.stop()
        await self._transport.unsubscribe(self.service_name)
        await self._worker.stop(timeout)
        remaining = timeout - (asyncio.get_running_loop().time() - started)
        await self._relay.stop(self._transport, max(remaining, _FLUSH_SECONDS))

    async def flush(self, timeout: float) -> bool:
        """Hand over the whole outbox now (where no relay is resident); False when that took longer or the transport fails."""
        return await self._relay.flush(self._connected(), timeout)

    async def beat(self) -> None:
        """Prolong the leases of running handlers now, and stop those that were cancelled or taken over elsewhere.

        The worker does so by itself every few seconds; whoever freezes a process (a function runtime) does it on waking.
        """
        await self._worker.beat()

    def _connected(self) -> Transport:
        if self._transport is None:
            raise RuntimeError(f"the messages of {self.service_name} have no transport; call start() or use() first")
        return self._transport

    # ── the inbox, for transports ────────────────────────────────────────────────────────────────────────────────────────────

    async def receive(self, bodies: Sequence[str | bytes]) -> None:
        """Store envelopes that a transport delivers; once it returns they may be acknowledged."""
        try:
            await self._reception.receive(bodies, self._handlers.consumers_of)
        except Exception as error:
            self._not_stored = self._clock.now(), f"{type(error).__name__}: {error}".partition("\n")[0]
            raise
        self._not_stored = None
        self._worker.wake()

    async def check_receiving(self) -> None:
        """Raise `NotStored`, with the reason, while what arrives cannot be stored."""
        if self._not_stored is not None and self._clock.now() - self._not_stored[0] < _REMEMBERED:
            raise NotStored(f"messages arrive that cannot be stored, and will come again: {self._not_stored[1]}")

    # ── MessageWriter, for units of work ─────────────────────────────────────────────────────────────────────────────────────

    async def publish(self, connection: AsyncConnection, event: Event, *, deliver_within: timedelta | None = None) -> UUID:
        """Store an event in the outbox, in the caller's transaction."""
        return await self._outbox.publish(connection, event, deliver_within=deliver_within)

    async def enqueue(
        self,
        connection: AsyncConnection,
        task: Task,
        *,
        delay: timedelta,
        priority: int,
        unique_key: str | None,
        deliver_within: timedelta | None = None,
    ) -> UUID:
        """Store a task in the inbox, in the caller's transaction: a task is a message to oneself and needs no transport."""
        return await self._inbox.enqueue(
            connection, task, delay=delay, priority=priority, unique_key=unique_key, deliver_within=deliver_within
        )

    def wake(self, *, published: bool = True, enqueued: bool = True) -> None:
        """Look for work now, which a commit has left."""
        if published:
            self._relay.wake()
        if enqueued:
            self._worker.wake()
        if not self._started:  # others have to do it
            if published:
                self._news.announce(EVENTS_NOTICE, soon=True)
            if enqueued:
                self._news.announce(WORK_NOTICE, soon=True)

    def clock_moved(self) -> None:
        """Look for all that may have fallen due."""
        self.wake()
        self._scheduler.wake()

    # ── TaskBoard, for implementations ───────────────────────────────────────────────────────────────────────────────────────

    async def find(self, task_id: UUID) -> TaskState | None:
        """The state of a task, or None when no such task is known (any more)."""
        return await self._board.find(task_id)

    async def list(self, *, state: TaskStateName | None = None, limit: int = 50, cursor: str | None = None) -> TaskPage:
        """Tasks, newest first, at most 200 a page."""
        return await self._board.list(state=state, limit=limit, cursor=cursor)

    async def wait(self, task_id: UUID, *, timeout: float) -> TaskState | None:
        """The state of a task once it has ended, or as it is after ``timeout`` seconds."""
        return await self._board.wait(task_id, timeout=timeout)

    async def cancel(self, task_id: UUID) -> bool:
        """Ask a task to stop: a waiting one never starts, a running one is cancelled. False when it has ended already."""
        asked = await self._board.cancel(task_id)
        if asked:
            self._worker.cancel(task_id)
            self._worker.wake()  # the next one of its key need not wait any longer
        return asked
