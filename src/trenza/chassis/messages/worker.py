"""Claims a service's messages as long as there is room, runs their handlers, and keeps their leases alive."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.messages import claims
from trenza.chassis.messages.attempts import Attempt, Attempts, Outcome
from trenza.chassis.messages.loops import FALLBACK_SECONDS, Loop

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

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
_CANCEL_GRACE_SECONDS = 2.0
"""How long a cancelled handler may take to clean up before its message is given back without waiting for it."""


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
    ) -> None:
        self._database = database
        self._service = service
        self._handlers = handlers
        self._clock = clock
        self._concurrency = concurrency
        self._chance = chance
        self._ended = ended
        self._limits = {consumer: limit or concurrency for consumer, limit in handlers.concurrency.items()}
        self._claiming = Loop(self._turn, name="worker", service=service)
        self._beating = Loop(self._heartbeat, name="heartbeat", service=service)
        self._running: dict[tuple[int, UUID], tuple[Attempt, asyncio.Task[Outcome]]] = {}
        self._attempts: Attempts | None = None
        self._more = False  # whether something may be waiting that only wants room

    def start(self, implementation: Any) -> None:
        """Begin to claim. Handlers get ``implementation`` as their first argument."""
        self._attempts = Attempts(
            self._database,
            self._service,
            self._handlers,
            clock=self._clock,
            chance=self._chance,
            implementation=implementation,
        )
        if self._limits:
            self._claiming.start()
            self._beating.start()

    def wake(self) -> None:
        """Look for work now."""
        self._claiming.ring()

    @property
    def running(self) -> int:
        """How many handlers run."""
        return len(self._running)

    def cancel(self, message_id: UUID) -> None:
        """Stop the handler of a message whose cancellation is already in the database."""
        for attempt, task in self._running.values():
            if attempt.claimed.message_id == message_id:
                attempt.stop(task, "cancelled")

    async def stop(self, timeout: float) -> None:
        """Claim no more, let handlers run for ``timeout`` seconds at most, then cancel them and give their messages back."""
        deadline = asyncio.get_running_loop().time() + timeout
        await self._claiming.stop()
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
        self._more = True  # until we know better: what ends meanwhile shall wake us
        free = self._concurrency - len(self._running)
        if free <= 0:
            return FALLBACK_SECONDS
        if not rung:  # the usual end of a quiet sleep: a read disturbs nobody
            outlook = await self._look()
            pause = _seconds(outlook, self._clock)
            if not outlook.waiting and pause > 0:
                self._more = False
                return pause
        if await self._claim(free):
            return 0.0
        outlook = await self._look()
        self._more = outlook.waiting
        return max(_seconds(outlook, self._clock), _SHORTEST_PAUSE_SECONDS)

    async def _claim(self, free: int) -> bool:
        """Claim what fits and begin it; returns whether it is worth while to claim again at once."""
        now = self._clock.now()
        busy = Counter(attempt.claimed.consumer for attempt, _ in self._running.values())
        room = {consumer: limit - busy[consumer] for consumer, limit in self._limits.items() if limit > busy[consumer]}
        until = now + timedelta(seconds=LEASE_SECONDS)
        async with self._database.work() as work:
            recovered = await claims.recover(work, now, {token for _, token in self._running})
            reached(Failpoint.WORKER_RECOVERED)
            found, more = await claims.claim(work, room=room, limit=free, now=now, until=until, schema=self._database.schema)
            reached(Failpoint.WORKER_CLAIMING)
        reached(Failpoint.WORKER_CLAIMED)
        for message_id in recovered:  # most go on; one whose cancellation was asked for has ended
            self._ended(message_id)
        for claimed in found:
            self._begin(claimed)
        return more and bool(found)

    async def _look(self) -> claims.Outlook:
        async with self._database.read() as connection:
            return await claims.look(connection, self._limits)

    def _begin(self, claimed: claims.Claimed) -> None:
        if self._attempts is None:
            raise RuntimeError("the worker has not been started")
        attempt = self._attempts.of(claimed)
        task = asyncio.create_task(attempt.run(), name=f"{claimed.type} {claimed.message_id}")
        self._running[claimed.position, claimed.token] = (attempt, task)
        task.add_done_callback(lambda task: self._end(claimed, task))

    def _end(self, claimed: claims.Claimed, task: asyncio.Task[Outcome]) -> None:
        del self._running[claimed.position, claimed.token]
        self._ended(claimed.message_id)
        done = not task.cancelled() and task.result() == "completed"
        if (
            self._more or not done or claimed.ordering_key is not None
        ):  # there is room, or another attempt, or the next of its key
            self._claiming.ring()

    async def _heartbeat(self, _rung: bool) -> float:  # noqa: FBT001 - the shape of every turn
        await self.beat()
        return HEARTBEAT_SECONDS

    async def beat(self) -> None:
        """Prolong the leases of what runs here; stop what was cancelled or taken over."""
        held = [(attempt, task) for attempt, task in self._running.values() if not task.done()]
        if not held:
            return
        reached(Failpoint.HEARTBEAT_BEFORE)
        until = self._clock.now() + timedelta(seconds=LEASE_SECONDS)
        async with self._database.work() as work:
            ours = await claims.extend(work, [attempt.claimed for attempt, _ in held], until)
        reached(Failpoint.HEARTBEAT_EXTENDED)
        for attempt, task in held:
            asked = ours.get((attempt.claimed.position, attempt.claimed.token))
            if asked is None:
                attempt.stop(task, "lost")
            elif asked:
                attempt.stop(task, "cancelled")


def _seconds(outlook: claims.Outlook, clock: Clock) -> float:
    """Until the next delayed message falls due or a lease runs out; at most the fallback, 0 when that is past."""
    moments = [moment for moment in (outlook.next_due, outlook.next_expiry) if moment is not None]
    if not moments:
        return FALLBACK_SECONDS
    return min(max((min(moments) - clock.now()).total_seconds(), 0.0), FALLBACK_SECONDS)
