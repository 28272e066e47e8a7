"""Claims a service's messages as long as there is room, runs their handlers, and keeps their leases alive."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.messages import claims, endings
from trenza.chassis.messages.attempts import Attempt, Attempts, Outcome
from trenza.chassis.messages.loops import FALLBACK_SECONDS, Loop, Pace
from trenza.chassis.messages.reserve import Reserve
from trenza.chassis.messages.room import Room
from trenza.chassis.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from trenza.chassis.clock import Clock
    from trenza.chassis.data import Database
    from trenza.chassis.messages.handlers import Handlers

__all__ = ["HEARTBEAT_SECONDS", "LEASE_SECONDS", "Worker"]

LEASE_SECONDS = 30.0
"""How long a claim holds without a heartbeat. It exceeds any skew between the clocks of replicas that are kept in time."""
HEARTBEAT_SECONDS = 5.0
"""How often leases are prolonged, and how soon a running task sees that another process cancelled it."""
_SHORTEST_PAUSE_SECONDS = 0.05
"""Between two looks at something that is due but that another process must be handling."""
_LOOK_SECONDS = 1.0
"""How often to look for what has fallen due while there is always something to claim."""
_CANCEL_GRACE_SECONDS = 2.0
"""How long a cancelled handler may take to clean up before its message is given back without waiting for it."""

logger = get_logger(__name__)


class Worker:
    """Handles the messages of one service in one process."""

    def __init__(
        self,
        database: Database,
        service: str,
        handlers: Handlers,
        clock: Clock,
        *,
        concurrency: int,
        chance: Callable[[], float],
        ended: Callable[[UUID], None],
        crowded: Callable[[], None] = lambda: None,
        longest_pause: Callable[[], float] = lambda: FALLBACK_SECONDS,
    ) -> None:
        """``ended`` is told the ids of messages whose state has changed; ``crowded`` that there is more than can begin here."""
        self._database = database
        self._service = service
        self._handlers = handlers
        self._clock = clock
        self._concurrency = concurrency
        self._chance = chance
        self._ended = ended
        self._crowded = crowded
        self._longest_pause = longest_pause
        self._limits = {consumer: limit or concurrency for consumer, limit in handlers.concurrency.items()}
        self._claiming = Loop(self._turn, name="worker", service=service)
        self._beating = Loop(self._heartbeat, name="heartbeat", service=service)
        self._running: dict[tuple[int, UUID], tuple[Attempt, asyncio.Task[Outcome]]] = {}
        self._handling: dict[Attempt, float] = {}
        """Those of them whose handlers still run, and since when; the others wait for their end to be recorded."""
        self._reserve = Reserve(self._limits, concurrency)
        self._attempts: Attempts | None = None
        self._looked = self._next_beat = float("-inf")
        self._pace = Pace()
        self._draining = self._more = False  # more: whether something may be waiting that only wants room

    def start(self, implementation: Any) -> None:
        """Begin to claim. Handlers get ``implementation`` as their first argument."""
        self._attempts = Attempts(
            self._database,
            self._service,
            self._handlers,
            clock=self._clock,
            chance=self._chance,
            implementation=implementation,
            handled=self._handled,
        )
        self._draining = False
        if self._limits:
            self._claiming.start()
            self._beating.start()

    def wake(self) -> None:
        """Claim now: there is work."""
        self._claiming.ring()

    def look(self) -> None:
        """Look now: another process may have left work, or cancelled what runs here."""
        self._claiming.look()
        if self._running or self._reserve:
            self._beating.ring()

    @property
    def running(self) -> int:
        """How many handlers run."""
        return len(self._handling)

    def cancel(self, message_id: UUID) -> None:
        """Stop the handler of a message whose cancellation is already in the database."""
        for attempt, task in self._running.values():
            if attempt.claimed.message_id == message_id:
                attempt.stop(task, "cancelled")
        self._cancel_reserved([attempt for attempt in self._reserve.held() if attempt.claimed.message_id == message_id])

    async def stop(self, timeout: float) -> None:
        """Claim no more, let handlers run for ``timeout`` seconds at most, then cancel them and give their messages back."""
        deadline = asyncio.get_running_loop().time() + timeout
        self._draining = True
        await self._claiming.stop()
        await self._give_back(self._reserve.held())
        await self._wait_for_handlers(deadline - asyncio.get_running_loop().time())
        for attempt, task in list(self._running.values()):
            attempt.stop(task, "draining")
        await self._wait_for_handlers(_CANCEL_GRACE_SECONDS)
        for attempt, _ in list(self._running.values()):  # deaf to cancellation; its own finish will be refused
            await attempt.give_back()
        await self._beating.stop()

    async def _wait_for_handlers(self, timeout: float) -> None:
        if tasks := [task for _, task in self._running.values()]:
            await asyncio.wait(tasks, timeout=max(timeout, 0.0))

    async def _turn(self, rung: bool) -> float:  # noqa: FBT001 - the shape of every turn, see loops.py
        """Claim once, where there may be something to claim. Returns how long to sleep unless woken."""
        if not self._more:
            await self._pace.keep()
        self._more = True  # until we know better: what ends meanwhile shall wake us
        if not self._room().consumers:
            self._crowded()
            return self._longest_pause()
        due = False
        if not rung or asyncio.get_running_loop().time() - self._looked > _LOOK_SECONDS:
            outlook = await self._look()  # the usual end of a quiet sleep: a read disturbs nobody
            pause = outlook.seconds(self._clock.now(), self._longest_pause())
            due = pause <= 0
            if not (rung or due or outlook.waiting):
                self._more = False
                return pause
        if await self._claim(due=due):
            return 0.0
        outlook = await self._look()
        self._more = outlook.waiting
        room = self._room()
        if outlook.waiting and (room.free <= 0 or min(room.slots.values()) <= 0):
            self._crowded()
        pause = outlook.seconds(self._clock.now(), self._longest_pause())
        if pause <= 0 and not due and await self._claim(due=True):
            return 0.0
        return max(pause, _SHORTEST_PAUSE_SECONDS)

    def _room(self) -> Room:
        """How many messages could begin now, or be held in reserve."""
        now = asyncio.get_running_loop().time()
        busy = Counter(attempt.claimed.consumer for attempt in self._handling)
        oldest = {each.claimed.consumer: now - since for each, since in reversed(self._handling.items())}  # the first stays
        return Room(
            free=self._concurrency - len(self._handling),
            slots={consumer: limit - busy[consumer] for consumer, limit in self._limits.items()},
            reserve=self._reserve.wanted(busy, oldest, ending=len(self._running) - len(self._handling)),
            shares=self._reserve.shares(busy),
        )

    async def _claim(self, *, due: bool) -> bool:
        """Claim what fits and begin it; returns whether it is worth while to look again at once.

        Before that, when something is ``due``, free the delayed messages whose moment has come, and those whose worker has died.
        The commit need not wait for the disk: what is forgotten when the machine dies is that messages were claimed.
        """
        if self._attempts is None:
            raise RuntimeError("the worker has not been started")
        room, now, promoted, recovered = self._room(), self._clock.now(), 0, list[UUID]()
        until = now + timedelta(seconds=LEASE_SECONDS)
        async with self._database.work(durable=False) as work:
            if due:
                own = {token for _, token in self._running} | {attempt.claimed.token for attempt in self._reserve.held()}
                promoted, recovered = await claims.settle(work, now, own)
                reached(Failpoint.WORKER_RECOVERED)
            found, more = await claims.claim(
                work, room=room, types=self._handlers.types, until=until, schema=self._database.schema
            )
            reached(Failpoint.WORKER_CLAIMING)
        reached(Failpoint.WORKER_CLAIMED)
        for message_id in recovered:  # most go on; one whose cancellation was asked for has ended
            self._ended(message_id)
        for claimed in found:
            self._reserve.put(self._attempts.of(claimed), until)
        self._fill()
        return (more and bool(found)) or bool(promoted or recovered)

    async def _look(self) -> claims.Outlook:
        self._looked = asyncio.get_running_loop().time()
        async with self._database.read() as connection:
            return await claims.look(connection, self._limits, self._handlers.types)

    def _fill(self) -> None:
        """Begin what waits in reserve, as far as there is room."""
        if self._draining:
            return
        while len(self._handling) < self._concurrency:
            busy = Counter(attempt.claimed.consumer for attempt in self._handling)
            attempt = self._reserve.take(busy, self._clock.now()) if self._reserve else None
            if attempt is None:
                return
            self._begin(attempt)

    def _begin(self, attempt: Attempt) -> None:
        claimed = attempt.claimed
        task = asyncio.create_task(attempt.run(), name=f"{claimed.type} {claimed.message_id}")
        self._running[claimed.position, claimed.token] = (attempt, task)
        self._handling[attempt] = asyncio.get_running_loop().time()
        task.add_done_callback(lambda task: self._end(attempt, task))

    def _handled(self, attempt: Attempt) -> None:
        """Its handler has ended: another may begin while that is recorded."""
        since = self._handling.pop(attempt, None)
        if since is None:
            return
        self._reserve.took(attempt.claimed.consumer, asyncio.get_running_loop().time() - since)
        self._fill()
        if self._more and self._room().consumers:  # there is room now; with a reserve, once half of it is used up
            self._claiming.ring()

    def _end(self, attempt: Attempt, task: asyncio.Task[Outcome]) -> None:
        claimed = attempt.claimed
        del self._running[claimed.position, claimed.token]
        self._handled(attempt)
        self._ended(claimed.message_id)
        if claimed.ordering_key is not None or task.cancelled() or task.result() != "completed":  # its next, or another attempt
            self._claiming.ring()

    async def _give_back(self, attempts: list[Attempt]) -> None:
        """Let others have messages that have not begun here."""
        if not (held := [(attempt.claimed.position, attempt.claimed.token) for attempt in self._reserve.remove(attempts)]):
            return
        try:
            async with self._database.work(durable=False) as work:
                await endings.release_all(work, held, self._clock.now())
        except DatabaseUnavailable as error:
            logger.warning("messages not given back; their leases end", service=self._service, reason=str(error))

    def _cancel_reserved(self, attempts: list[Attempt]) -> None:
        """End messages that were cancelled before they began."""
        for attempt in self._reserve.remove(attempts):
            attempt.cancel()
            self._begin(attempt)

    async def _heartbeat(self, rung: bool) -> float:  # noqa: FBT001 - the shape of every turn
        now = asyncio.get_running_loop().time()
        if rung and now < self._next_beat:
            await self._stop_cancelled()
        else:
            self._next_beat = now + HEARTBEAT_SECONDS
            await self.beat()
        return max(self._next_beat - asyncio.get_running_loop().time(), 0.0)

    async def _stop_cancelled(self) -> None:
        """Stop what other processes have cancelled. Only reads: where commits wake us, this must not be one."""
        held = [attempt.claimed for attempt, _ in self._running.values()] + [each.claimed for each in self._reserve.held()]
        if held:
            async with self._database.read() as connection:
                cancelled = await claims.cancelled(connection, held)
            for message_id in cancelled:
                self.cancel(message_id)

    async def beat(self) -> None:
        """Prolong the leases of what is held here; stop what was cancelled or taken over, give back what waits too long."""
        await self._give_back(self._reserve.stale())
        running = [(attempt, task) for attempt, task in self._running.values() if not task.done()]
        reserved = self._reserve.held()
        if not running and not reserved:
            return
        reached(Failpoint.HEARTBEAT_BEFORE)
        until = self._clock.now() + timedelta(seconds=LEASE_SECONDS)
        async with self._database.work(durable=False) as work:
            ours = await claims.extend(work, [each.claimed for each in (*(attempt for attempt, _ in running), *reserved)], until)
        reached(Failpoint.HEARTBEAT_EXTENDED)
        for attempt, task in running:
            asked = ours.get((attempt.claimed.position, attempt.claimed.token))
            if asked is None:
                attempt.stop(task, "lost")
            elif asked:
                attempt.stop(task, "cancelled")
        asked_of = [(attempt, ours.get((attempt.claimed.position, attempt.claimed.token))) for attempt in reserved]
        self._reserve.remove(attempt for attempt, asked in asked_of if asked is None)
        self._cancel_reserved([attempt for attempt, asked in asked_of if asked])
        self._reserve.prolong(until)
