"""The loops behind the messages of a service: each does its turn when it is woken, or when its pause is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from trenza.chassis.contract import CallFailed
from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.messages.transports.base import TransportUnavailable
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["FALLBACK_SECONDS", "UNHEARD_SECONDS", "Loop", "Pace"]

FALLBACK_SECONDS = 30.0
"""How long a loop that serves the database sleeps at most: what another process wrote, and nobody told, is seen by then."""
UNHEARD_SECONDS = 3.0
"""The same while the notices of other processes do not come through."""
_LONGEST_ERROR_PAUSE_SECONDS = 30.0
_LONGEST_AWAY_PAUSE_SECONDS = 5.0
"""The same while a broker is away, where no ring cuts the pause short: how long after its return it is noticed at the latest."""
_STOP_SECONDS = 5.0
_PACE_SECONDS = 0.005

_OUTAGES = (DatabaseUnavailable, TransportUnavailable, CallFailed, OSError)
"""What is missing or broken elsewhere: its trace would say nothing about us."""

logger = get_logger(__name__)

Turn = Callable[[bool], Awaitable[float]]
"""Does what there is to do and returns for how many seconds nothing will be; the argument tells whether somebody rang."""


class Pace:
    """Keeps turns five milliseconds apart that would follow each other at once, so that each finds more to do.

    A transaction costs as much as several messages. A turn that comes alone is not held up.
    """

    def __init__(self) -> None:
        self._next = 0.0

    async def keep(self) -> None:
        """Wait until the last turn began so long ago."""
        clock = asyncio.get_running_loop().time
        if (wait := self._next - clock()) > 0:
            await asyncio.sleep(wait)
        self._next = clock() + _PACE_SECONDS


class Loop:
    """Calls a turn again and again. One that raises is tried again, less and less often unless rung; it never ends the loop.

    While a broker is away (`TransportUnavailable`) no ring cuts the pause short: it is a commit with more for that broker that
    rings, and several come each second.

    The log tells once that it failed and once that it works again, however long that takes: a database that is away for an hour
    must not fill it. What is no such outage is a defect, and shows its trace.

    Rings are remembered until the next turn, so that none is missed between looking and sleeping. The first turn counts as rung.
    """

    def __init__(self, turn: Turn, *, name: str, service: str) -> None:
        self._turn = turn
        self._name = name
        self._service = service
        self._bell = asyncio.Event()
        self._rung = False
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with the first turn at once."""
        self._stopping.clear()
        self.ring()
        self._task = asyncio.create_task(self._run(), name=f"{self._service} {self._name}")

    def ring(self) -> None:
        """Let the next turn begin now: there is something to do."""
        self._rung = True
        self._bell.set()

    def look(self) -> None:
        """Let the next turn begin now, as if its pause were over: there may be something to do."""
        self._bell.set()

    async def stop(self, timeout: float = _STOP_SECONDS) -> None:
        """Let a turn that is under way end, and begin no other. One that takes longer than ``timeout`` seconds is cancelled."""
        if self._task is None:
            return
        self._stopping.set()
        self._bell.set()
        await asyncio.wait([self._task], timeout=max(timeout, 0.0))
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _run(self) -> None:
        pause, failures, away = 0.0, 0, False
        while True:
            rung = await (self._sleep_out(pause) if away else self._sleep(pause))
            if self._stopping.is_set():
                return
            try:
                pause = await self._turn(rung)
            except Exception as error:  # noqa: BLE001 - whatever it is, the loop goes on; it is logged
                failures += 1
                away = isinstance(error, TransportUnavailable)
                pause = min(0.25 * 2.0**failures, _LONGEST_AWAY_PAUSE_SECONDS if away else _LONGEST_ERROR_PAUSE_SECONDS)
                self._tell_failure(error, failures)
            else:
                if failures:
                    logger.info("background work goes on", service=self._service, loop=self._name, failures=failures)
                failures, away = 0, False

    def _tell_failure(self, error: Exception, failures: int) -> None:
        """A line for the first failure in a row; everything at debug."""
        outage = isinstance(error, _OUTAGES)
        facts = {"service": self._service, "loop": self._name, "reason": f"{type(error).__name__}: {error}"}
        if failures > 1:
            logger.debug("background work fails still", **facts, failures=failures, exc_info=error)
        elif outage:
            logger.warning("background work failed, trying again", **facts)
            logger.debug("background work failed", **facts, exc_info=error)
        else:
            logger.error("background work failed, trying again", **facts, exc_info=error)

    async def linger(self, seconds: float) -> None:
        """For a turn under way: wait for a ring, which then counts as heard, so long at most. A loop that ends does not wait."""
        if self._task is not None:
            await self._sleep(seconds)

    async def _sleep(self, seconds: float) -> bool:
        """Sleep until somebody wakes us or the time is over; returns whether somebody rang."""
        if self._stopping.is_set():
            return False
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return False
        return self._heard()

    async def _sleep_out(self, seconds: float) -> bool:
        """Sleep until the time is over, or the loop ends; returns whether somebody rang meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._heard()

    def _heard(self) -> bool:
        self._bell.clear()
        rung, self._rung = self._rung, False
        return rung
