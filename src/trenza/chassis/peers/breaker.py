"""The circuit breaker of one peer: after failures in a row nobody waits for it, until a probe finds it well again."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

from prometheus_client import Gauge

from trenza.chassis.peers.limits import PeerLimits
from trenza.chassis.telemetry.logs import get_logger
from trenza.chassis.telemetry.metrics import registry

__all__ = ["Attempt", "Breaker", "BreakerOpen", "BreakerState"]

_log = get_logger(__name__)

_STATE = Gauge(
    "trenza_breaker_state", "Circuit breakers, by callee: 0 closed, 1 half-open, 2 open", ("callee",), registry=registry()
)


class BreakerState(StrEnum):
    """The three states of M. Nygard, *Release It!*, chapter "Stability Patterns"."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


_FIGURES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class BreakerOpen(Exception):
    """Not tried: the peer has failed too often. ``retry_in`` are the seconds until a probe may go (0: one is under way)."""

    def __init__(self, callee: str, retry_in: float) -> None:
        when = f"it is tried again in {retry_in:.1f} s" if retry_in > 0 else "it is being tried now"
        super().__init__(f"{callee} did not answer several times in a row; {when}")
        self.callee = callee
        self.retry_in = retry_in


class Attempt:
    """A use of the peer, a block in which `succeeded` or `failed` is said. Without either (cancelled) it counts as nothing."""

    __slots__ = ("_breaker", "_era", "_probe")

    def __init__(self, breaker: Breaker, era: int, *, probe: bool) -> None:
        self._breaker, self._era, self._probe = breaker, era, probe

    def succeeded(self) -> None:
        """The peer answered, whatever it said."""
        self._breaker._judge(self._era, well=True)  # noqa: SLF001 - the two are one thing

    def failed(self) -> None:
        """The peer did not answer."""
        self._breaker._judge(self._era, well=False)  # noqa: SLF001 - the two are one thing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._probe:
            self._breaker._probe_ended(self._era)  # noqa: SLF001 - the two are one thing


class Breaker:
    """Closed, it lets everybody through. After ``failure_threshold`` failures in a row it is open, and nobody waits.

    After ``recovery_seconds`` it is half-open: one probe at a time goes through; ``successes_to_close`` of them in a row close
    it, a failure opens it anew. What was begun in an earlier state is not heard in a later one: a slow answer from before a
    failure says nothing of now. Not for use from several threads.
    """

    def __init__(self, callee: str, limits: PeerLimits, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._callee, self._limits, self._monotonic = callee, limits, monotonic
        self._state = BreakerState.CLOSED
        self._era = 0
        self._in_a_row = 0
        """Failures while closed, successes while half-open."""
        self._probing = False
        self._opened_at = 0.0
        _STATE.labels(callee).set(_FIGURES[self._state])

    @property
    def state(self) -> BreakerState:
        """The state; an open breaker stays open until somebody asks after its time."""
        return self._state

    @property
    def retry_in(self) -> float:
        """Seconds until an open breaker lets a probe through; 0 when it is not open, or would do so now."""
        if self._state is not BreakerState.OPEN:
            return 0.0
        return max(0.0, self._opened_at + self._limits.recovery_seconds - self._monotonic())

    def check(self) -> None:
        """Raise `BreakerOpen` where `attempt` would, without beginning one: before waiting for anything else."""
        if (left := self.retry_in) > 0 or self._probing:
            raise BreakerOpen(self._callee, left)

    def attempt(self) -> Attempt:
        """Leave for one use of the peer, as a context manager. Raises `BreakerOpen`."""
        self.check()
        if self._state is BreakerState.OPEN:
            self._enter(BreakerState.HALF_OPEN)
        self._probing = self._state is BreakerState.HALF_OPEN
        return Attempt(self, self._era, probe=self._probing)

    def _judge(self, era: int, *, well: bool) -> None:
        if era != self._era:
            return
        half_open = self._state is BreakerState.HALF_OPEN
        if well and not half_open:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if half_open and well and self._in_a_row >= self._limits.successes_to_close:
            self._enter(BreakerState.CLOSED)
        elif not well and (half_open or self._in_a_row >= self._limits.failure_threshold):
            self._opened_at = self._monotonic()
            self._enter(BreakerState.OPEN)

    def _probe_ended(self, era: int) -> None:
        if era == self._era:
            self._probing = False

    def _enter(self, state: BreakerState) -> None:
        said = {"callee": self._callee, "was": str(self._state), "now": str(state)}
        if state is BreakerState.OPEN:
            _log.warning("breaker opened", **said, recovery_seconds=self._limits.recovery_seconds)
        else:
            _log.info("breaker changed", **said)
        self._state = state
        self._era += 1
        self._in_a_row = 0
        self._probing = False
        _STATE.labels(self._callee).set(_FIGURES[state])
