"""Health: checks that run side by side, each with a time-out, and the report they make."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Gauge

from trenza.chassis.telemetry.logs import get_logger
from trenza.chassis.telemetry.metrics import registry

__all__ = ["CheckResult", "Health", "HealthReport"]

DEFAULT_TIMEOUT = 2.0
FRESH_SECONDS = 1.0
"""How long a report is given again: public routes cannot be used to make this process ask its databases all the time."""

_log = get_logger(__name__)
_up = Gauge("health_check_up", "1 when a health check last passed, 0 when it failed", ("check",), registry=registry())


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found. ``reason`` is for operators: it may hold internals, and public routes leave it out."""

    name: str
    healthy: bool
    required: bool
    duration_ms: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks at one moment. ``accepting`` is False before the start is complete and while draining."""

    accepting: bool
    checks: tuple[CheckResult, ...]

    @property
    def status(self) -> Literal["healthy", "degraded", "unhealthy"]:
        """Degraded when only checks failed that no work depends on."""
        if all(check.healthy for check in self.checks):
            return "healthy"
        return "degraded" if all(check.healthy or not check.required for check in self.checks) else "unhealthy"

    @property
    def ready(self) -> bool:
        """Whether work can be accepted."""
        return self.accepting and self.status != "unhealthy"


class Health:
    """The checks of one process. ``accepting`` tells whether it takes work at all (it is not starting or draining)."""

    def __init__(self, *, accepting: Callable[[], bool] = lambda: True) -> None:
        self._accepting = accepting
        self._checks: dict[str, _Check] = {}
        self._results: tuple[CheckResult, ...] = ()
        self._fresh_until = float("-inf")
        self._asking: asyncio.Task[tuple[CheckResult, ...]] | None = None

    def add(
        self, name: str, run: Callable[[], Awaitable[object]], *, required: bool = True, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        """Register a check. It is healthy when ``run`` returns within ``timeout`` seconds; what it raises is the reason.

        Readiness depends on it when ``required``.
        """
        if name in self._checks:
            message = f"there are two health checks called {name!r}; name them apart"
            raise ValueError(message)
        self._checks[name] = _Check(name, run, required=required, timeout=timeout)
        self._fresh_until = float("-inf")

    async def report(self) -> HealthReport:
        """The state of everything, at most a second old. Takes as long as the slowest check, and no check past its time-out."""
        if time.monotonic() >= self._fresh_until:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
                self._asking.add_done_callback(self._asked)
            # Shielded: one caller that goes away must not take the answer from the others.
            await asyncio.shield(self._asking)
        return HealthReport(self._accepting(), self._results)

    async def _ask(self) -> tuple[CheckResult, ...]:
        return tuple(await asyncio.gather(*(check.ask() for check in self._checks.values())))

    def _asked(self, task: asyncio.Task[tuple[CheckResult, ...]]) -> None:
        self._asking = None
        if not task.cancelled():
            self._results = task.result()
            self._fresh_until = time.monotonic() + FRESH_SECONDS


class _Check:
    """One check, which is never run twice at once: one that hangs would pile up."""

    def __init__(self, name: str, run: Callable[[], Awaitable[object]], *, required: bool, timeout: float) -> None:
        self._name, self._run, self._required, self._timeout = name, run, required, timeout
        self._running: asyncio.Task[None] | None = None
        self._was_healthy = True

    async def ask(self) -> CheckResult:
        began = time.monotonic()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run_once())
        done, _ = await asyncio.wait({self._running}, timeout=self._timeout)
        if not done:
            self._running.cancel()  # not waited for: a check may refuse to be cancelled
            reason: str | None = f"no answer within {self._timeout:g} s"
        elif self._running.cancelled():
            reason = "cancelled"
        elif (error := self._running.exception()) is not None:
            reason = f"{type(error).__name__}: {error}"
        else:
            reason = None
        return self._result(reason, round((time.monotonic() - began) * 1000, 1))

    async def _run_once(self) -> None:
        await self._run()

    def _result(self, reason: str | None, duration_ms: float) -> CheckResult:
        healthy = reason is None
        _up.labels(self._name).set(healthy)
        if healthy != self._was_healthy:
            self._was_healthy = healthy
            if healthy:
                _log.info("health check passes again", check=self._name)
            else:
                _log.warning("health check fails", check=self._name, required=self._required, reason=reason)
        return CheckResult(self._name, healthy, self._required, duration_ms, reason)
