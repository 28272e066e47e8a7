"""Runs one handler for one claimed message, and records how it ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from trenza.chassis.context import use_context
from trenza.chassis.contract import CallFailed
from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.messages import endings
from trenza.chassis.messages.definitions import LeaseLost, Postpone, Reject, Retry
from trenza.chassis.messages.delivery import Completions, InboxDelivery
from trenza.chassis.messages.endings import Reason
from trenza.chassis.messages.envelope import Envelope, Unreadable
from trenza.chassis.messages.metrics import HANDLED, HANDLING_SECONDS
from trenza.chassis.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trenza.chassis.clock import Clock
    from trenza.chassis.contract import Message
    from trenza.chassis.data import Database, UnitOfWork
    from trenza.chassis.messages.claims import Claimed
    from trenza.chassis.messages.definitions import Handler
    from trenza.chassis.messages.handlers import Handlers

__all__ = ["Attempt", "Attempts", "Outcome", "StopReason"]

StopReason = Literal["cancelled", "lost", "draining"]
Outcome = Literal["completed", "retried", "failed", "postponed", "cancelled", "released", "lost"]

_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0
"""Between two tries to record an ending while the database is away."""

logger = get_logger(__name__)


class Attempts:
    """Makes an `Attempt` of each claimed message of one service."""

    def __init__(
        self,
        database: Database,
        service: str,
        handlers: Handlers,
        *,
        clock: Clock,
        chance: Callable[[], float],
        implementation: Any,
        handled: Callable[[Attempt], None],
    ) -> None:
        self.database = database
        self.service = service
        self.handlers = handlers
        self.clock = clock
        self.chance = chance
        self.implementation = implementation
        self.handled = handled
        """Told that a handler has returned or raised, before that is recorded."""
        self.completions = Completions(database, clock)

    def of(self, claimed: Claimed) -> Attempt:
        """The attempt that begins with this claim."""
        return Attempt(self, claimed)


class Attempt:
    """One run of a handler. Its ending is written with the lease's token: a late one changes nothing."""

    def __init__(self, attempts: Attempts, claimed: Claimed) -> None:
        self.claimed = claimed
        self._its = attempts
        self._stop: StopReason | None = None
        self._handling = False

    def stop(self, task: asyncio.Task[Outcome], reason: StopReason) -> None:
        """Cancel the handler, once; the first reason counts. A handler that has ended already keeps its outcome."""
        if self._stop is None:
            self._stop = reason
            if self._handling:
                task.cancel()

    def cancel(self) -> None:
        """Have it end as cancelled instead of beginning."""
        self._stop = "cancelled"

    async def give_back(self) -> None:
        """Release the message without counting the attempt. Where the database is away, its lease has to run out."""
        try:
            await self._record("released", lambda work: endings.release(work, self.claimed, self._its.clock.now()))
        except DatabaseUnavailable as error:
            logger.warning("message not given back; its lease ends", service=self._its.service, reason=str(error))

    async def run(self) -> Outcome:
        """Handle the message, record the outcome and return it. Raises nothing: what cannot be recorded ends with the lease."""
        claimed, service = self.claimed, self._its.service
        try:
            outcome = await self._run()
        except Exception as error:
            outcome = "lost"
            facts = {"service": service, "type": claimed.type, "message_id": str(claimed.message_id)}
            if isinstance(error, DatabaseUnavailable):
                logger.warning("outcome not recorded", **facts, reason=str(error))
            else:
                logger.exception("outcome not recorded", **facts)
        HANDLED.labels(service, claimed.consumer, outcome).inc()
        return outcome

    async def _run(self) -> Outcome:
        handler = self._its.handlers.find(self.claimed.consumer, self.claimed.type)
        if handler is None:
            return await self._refuse(Reason.NO_HANDLER, f"{self.claimed.consumer} does not take {self.claimed.type}", None)
        if self.claimed.attempt > handler.attempts:  # its last attempt was counted, then the process died
            return await self._refuse(
                Reason.EXHAUSTED, "the last attempt did not end: its process died or lost the database", handler
            )
        try:
            envelope = Envelope.from_json(self.claimed.envelope)
            message = envelope.read(handler.message)
        except Unreadable as error:
            return await self._refuse(Reason.UNREADABLE, str(error), handler)
        if envelope.deliver_by is not None and envelope.deliver_by < self._its.clock.now():
            return await self._refuse(Reason.EXPIRED, f"it was to be delivered by {envelope.deliver_by.isoformat()}", handler)
        return await self._handle(handler, envelope, message)

    async def _handle(self, handler: Handler, envelope: Envelope, message: Message) -> Outcome:
        if self._stop is not None:  # before it began
            return await self._stopped()
        its = self._its
        delivery = InboxDelivery(its.database, self.claimed, attempts=handler.attempts, clock=its.clock)
        context = replace(envelope.context(), service=its.service).with_deadline_in(handler.timeout)
        limit = asyncio.timeout(handler.timeout)
        raised: BaseException | None = None
        with HANDLING_SECONDS.labels(its.service, self.claimed.consumer).time(), use_context(context):
            self._handling = True
            try:
                async with limit:
                    reached(Failpoint.HANDLER_BEGINS)
                    await handler.function(its.implementation, message, delivery)
            except asyncio.CancelledError as error:
                raised = self._understood(error)
            except Exception as error:  # noqa: BLE001 - a handler may raise anything; it is recorded with the message below
                raised = error
            finally:
                self._handling = False
        reached(Failpoint.HANDLER_RETURNED)
        its.handled(self)
        if delivery.finished:
            if raised is not None:
                logger.warning("raised after the end", service=its.service, type=self.claimed.type, exc_info=raised)
            return "completed"
        if raised is None:
            completed = await self._insist(lambda: its.completions.complete(self.claimed))
            return "completed" if completed else await self._not_ours()
        if isinstance(raised, TimeoutError) and limit.expired():
            raised = TimeoutError(f"the handler took longer than {handler.timeout:g} s")
        return await self._unfinished(handler, delivery, raised)

    def _understood(self, error: asyncio.CancelledError) -> BaseException:
        """What a cancellation means: our own `stop`, the end of the event loop, or something that the handler awaited."""
        task = asyncio.current_task()
        if self._stop is None:
            if task is not None and task.cancelling():
                raise error  # the event loop ends; so will the lease
            return RuntimeError("the handler awaited something that was cancelled")
        if task is not None:
            task.uncancel()
        return error

    async def _unfinished(self, handler: Handler, delivery: InboxDelivery, raised: BaseException) -> Outcome:
        """The handler raised."""
        match raised:
            case asyncio.CancelledError():
                return await self._stopped()
            case LeaseLost():
                return await self._not_ours()
            case Reject():
                return await self._fail(Reason.REJECTED, str(raised), handler)
            case Postpone():
                return await self._postpone(raised)
        facts = {"service": self._its.service, "type": self.claimed.type, "attempt": self.claimed.attempt}
        if isinstance(raised, Retry | CallFailed | DatabaseUnavailable):
            logger.warning("attempt failed", **facts, reason=str(raised))
        else:
            logger.warning("attempt failed", **facts, exc_info=raised)
        error = str(raised) if isinstance(raised, Retry) else f"{type(raised).__name__}: {raised}"
        return await self._failed(handler, delivery, error)

    async def _failed(self, handler: Handler, delivery: InboxDelivery, error: str) -> Outcome:
        """One attempt did not do it: another follows, unless this was the last."""
        if delivery.last_attempt:
            return await self._fail(Reason.EXHAUSTED, error, handler)
        now = self._its.clock.now()
        due_at = now + timedelta(seconds=handler.backoff.seconds(self.claimed.attempt, self._its.chance()))
        return await self._record("retried", lambda work: endings.retry(work, self.claimed, now, due_at=due_at, error=error))

    async def _postpone(self, error: Postpone) -> Outcome:
        now = self._its.clock.now()
        due_at = now + timedelta(seconds=max(error.seconds, 0.0))
        return await self._record(
            "postponed", lambda work: endings.postpone(work, self.claimed, now, due_at=due_at, note=error.reason)
        )

    async def _refuse(self, reason: Reason, error: str, handler: Handler | None) -> Outcome:
        """A dead letter whose handler was never called."""
        return await self._fail(reason, error, handler, ran=False)

    async def _fail(self, reason: Reason, error: str, handler: Handler | None, *, ran: bool = True) -> Outcome:
        now, blocks = self._its.clock.now(), handler is not None and handler.blocks_key
        logger.error(
            "dead letter",
            service=self._its.service,
            type=self.claimed.type,
            message_id=str(self.claimed.message_id),
            attempts=self.claimed.attempt if ran else self.claimed.attempt - 1,  # as many as are recorded
            reason=reason.value,
        )
        return await self._record(
            "failed", lambda work: endings.fail(work, self.claimed, now, reason=reason, error=error, blocks_key=blocks, ran=ran)
        )

    async def _stopped(self) -> Outcome:
        """We cancelled the handler."""
        if self._stop == "draining":
            await self.give_back()
            return "released"
        return await self._not_ours()

    async def _not_ours(self) -> Outcome:
        """The message was cancelled, or somebody else has it."""
        now = self._its.clock.now()

        async def confirm() -> bool:
            async with self._its.database.work() as work:
                return await endings.confirm_cancelled(work, self.claimed, now)

        return "cancelled" if await self._insist(confirm) else "lost"

    async def _record(self, outcome: Outcome, ending: Callable[[UnitOfWork], Awaitable[bool]]) -> Outcome:
        async def record() -> bool:
            async with self._its.database.work() as work:
                ours = await ending(work)
                reached(Failpoint.ENDING_BEFORE_COMMIT)
            reached(Failpoint.ENDING_RECORDED)
            return ours

        return outcome if await self._insist(record) else "lost"

    async def _insist(self, record: Callable[[], Awaitable[bool]]) -> bool:
        """Record an ending as soon as the database is there, unless the process is to end.

        Left to its lease, a message would hold up its key for that long after each restart of the database. The token guards a
        record that comes late or twice.
        """
        pause = _SHORTEST_PAUSE_SECONDS
        while True:
            try:
                return await record()
            except DatabaseUnavailable as error:
                if self._stop is not None:
                    raise
                logger.debug("outcome not recorded yet", service=self._its.service, type=self.claimed.type, reason=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
