"""The transport to one service in other processes: bulkhead, breaker, replicas, retries and deadline of each call."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp

from trenza.chassis.calls.budget import MOST_ATTEMPTS, RetryBudget, pause_before
from trenza.chassis.calls.endings import Ending, Kind, asked_to_wait, kind_of, outcome_of
from trenza.chassis.calls.exchange import exchange
from trenza.chassis.calls.metrics import CALL_RETRIES, CALL_SECONDS, CALLS, REJECTED
from trenza.chassis.calls.protocol import DEADLINE
from trenza.chassis.calls.transport import Answer, TransportFailed
from trenza.chassis.clock import Clock
from trenza.chassis.peers import Breaker, BreakerOpen, PeerLimits, Replica, Replicas, Use
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["Callee"]

_QUEUE_SECONDS = 1.0
"""How long a call waits for its turn behind too many others: enough for a burst, too little to pile up."""
_FAIR_SECONDS = 1.0
"""A time-out after less says more about the caller's haste than about the callee, and does not count against it."""

_log = get_logger(__name__)


class Callee:
    """Posts calls to one service, whose processes are at ``urls``. Implements `calls.Transport`; made by `Callees`.

    What opens the breaker is a callee that does not answer: no connection, a connection that breaks, a time-out of a second or
    more, an answer without an outcome (something else answers in its place), or all replicas away. What it does answer (a result,
    a refusal, *it broke*) shows that it is there; a fault in one operation must not cost the others, and is not asked for again,
    as it would not be within one process. What counts is the call
    after all its replicas, as the breaker is the service's; a single process that fails is set aside by `Replicas`.

    Another replica is tried at once where nothing ran (no connection, or ``not-run`` with 503), for every operation and as often
    as there are replicas; gRPC (proposal A6) calls these transparent retries and takes them from no budget either. After that
    come up to three attempts with pauses, within the budget: of any operation when nothing ran, of idempotent ones whatever
    happened.
    """

    def __init__(
        self,
        service: str,
        urls: Sequence[str],
        limits: PeerLimits,
        session: Callable[[], aiohttp.ClientSession],
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `ValueError` for addresses that are none."""
        self.service = service
        self._replicas = Replicas(service, urls, monotonic=monotonic)
        self._breaker = Breaker(service, limits, monotonic=monotonic)
        self._budget = RetryBudget(monotonic=monotonic)
        self._turns = asyncio.Semaphore(limits.concurrency)
        self._limits, self._session, self._clock = limits, session, clock
        self._chance = random.Random()  # noqa: S311 - no secret
        self._in_flight = 0

    def urls(self) -> tuple[str, ...]:
        """The addresses of its processes."""
        return tuple(replica.url for replica in self._replicas.all)

    def state(self) -> dict[str, Any]:
        """``breaker``, ``retry_in`` (seconds), ``in_flight`` (calls) and ``replicas``, for people who look."""
        return {
            "breaker": str(self._breaker.state),
            "retry_in": round(self._breaker.retry_in, 1),
            "in_flight": self._in_flight,
            "replicas": self._replicas.states(),
        }

    async def post(
        self, path: str, headers: Mapping[str, str], body: bytes, timeout: float, *, idempotent: bool = False
    ) -> Answer:
        """The answer, after as many attempts as the rules of this class and ``timeout`` (seconds, for all of it) allow.

        Raises `TransportFailed` and `TimeoutError`.
        """
        call = _Request(path, headers, body, timeout, idempotent=idempotent)
        outcome, began = "cancelled", time.perf_counter()
        self._in_flight += 1
        try:
            answer = await self._attempts(call)
            outcome = outcome_of(answer)
        except _Rejected:
            outcome = "rejected"
            raise
        except TransportFailed as error:
            outcome = "failed" if error.sent else "not-run"
            raise
        except TimeoutError:
            outcome = "timed-out"
            raise
        else:
            return answer
        finally:
            self._in_flight -= 1
            operation = path.rpartition("/")[2]
            CALLS.labels(self.service, operation, outcome).inc()
            CALL_SECONDS.labels(self.service, operation).observe(time.perf_counter() - began)

    async def _attempts(self, call: _Request) -> Answer:
        self._budget.count_call()
        may_have_run = False
        attempt = 1
        while True:
            try:
                ending = await self._attempt(call)
            except _Rejected as error:
                if attempt == 1:
                    raise
                raise TransportFailed(error.reason, sent=may_have_run) from error
            if ending.kind is Kind.ANSWERED or (ending.may_have_run and not call.idempotent):
                return ending.conclude(ran_before=may_have_run)
            attempt += 1
            pause = self._pause(ending, attempt, call)
            if pause is None:
                return ending.conclude(ran_before=may_have_run)
            may_have_run = may_have_run or ending.may_have_run
            await asyncio.sleep(pause)

    def _pause(self, ending: Ending, attempt: int, call: _Request) -> float | None:
        """Seconds until the next attempt; None when there is none."""
        if attempt > MOST_ATTEMPTS:
            return None
        pause = pause_before(attempt, self._limits.retry_seconds, self._chance)
        if ending.answer is not None:
            pause = max(pause, asked_to_wait(ending.answer, self._clock.now()))
        if pause >= call.left():
            return None
        if not self._budget.withdraw():
            REJECTED.labels(self.service, "budget").inc()
            return None
        CALL_RETRIES.labels(self.service, ending.kind.value).inc()
        return pause

    async def _attempt(self, call: _Request) -> Ending:
        """One attempt, which the breaker hears of: at one replica after another, as long as nothing ran."""
        try:
            self._breaker.check()
            await self._turn(call)
        except BreakerOpen as error:
            raise self._rejected("breaker", str(error)) from error
        try:
            try:
                leave = self._breaker.attempt()
            except BreakerOpen as error:
                raise self._rejected("breaker", str(error)) from error
            with leave:
                try:
                    ending = await self._one_after_another(call)
                except TimeoutError:
                    if call.is_fair():
                        leave.failed()
                    raise
                if ending.kind is Kind.ANSWERED:
                    leave.succeeded()
                elif ending.kind is not Kind.TIMED_OUT or call.is_fair():
                    leave.failed()
                return ending
        finally:
            self._turns.release()

    async def _turn(self, call: _Request) -> None:
        """Wait until fewer calls are under way. Raises `TransportFailed`."""
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(min(_QUEUE_SECONDS, max(0.0, call.left()))):
                await self._turns.acquire()
        except TimeoutError as error:
            raise self._rejected("bulkhead", f"too many calls to {self.service} are under way") from error

    def _rejected(self, reason: str, words: str) -> _Rejected:
        REJECTED.labels(self.service, reason).inc()
        return _Rejected(words, sent=False)

    async def _one_after_another(self, call: _Request) -> Ending:
        tried: list[Replica] = []
        while True:
            with self._replicas.use(avoid=tried) as use:
                ending = await self._exchange(call, use)
            tried.append(use.replica)
            if ending.kind not in (Kind.UNREACHABLE, Kind.AWAY) or len(tried) == len(self._replicas.all) or call.left() <= 0:
                return ending
            CALL_RETRIES.labels(self.service, ending.kind.value).inc()

    async def _exchange(self, call: _Request, use: Use) -> Ending:
        """Ask one replica. Raises `TimeoutError` at the deadline."""
        try:
            async with asyncio.timeout_at(call.deadline):
                answer = await exchange(self._session(), f"{use.replica.url}{call.path}", call.headers(), call.body)
        except TransportFailed as error:
            _log.warning("no answer", callee=self.service, url=use.replica.url, reason=error.reason, cause=repr(error.__cause__))
            use.failed()
            return Ending(Kind.FAILED if error.sent else Kind.UNREACHABLE, failure=error)
        except TimeoutError:
            if call.is_fair():
                use.failed()
            raise
        ending = Ending(kind_of(answer), answer=answer)
        if ending.kind in (Kind.AWAY, Kind.FAILED):
            use.failed()
        else:
            use.answered()
        return ending


class _Rejected(TransportFailed):
    """Not tried."""


class _Request:
    """What is posted, until when."""

    def __init__(self, path: str, headers: Mapping[str, str], body: bytes, timeout: float, *, idempotent: bool) -> None:
        self._time = asyncio.get_running_loop().time
        self._began = self._time()
        self._headers = headers
        self.path, self.body, self.idempotent = path, body, idempotent
        self.deadline = self._began + timeout

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - self._time()

    def is_fair(self) -> bool:
        """Whether the callee had time enough for a time-out to be its fault."""
        return self._time() - self._began >= _FAIR_SECONDS

    def headers(self) -> dict[str, str]:
        """The caller's, with what is left of its time now."""
        return {**self._headers, DEADLINE: str(max(1, int(self.left() * 1000)))}
