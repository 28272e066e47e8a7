"""The loops behind the messages of a service: each does its turn when it is woken, or when its pause is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from trenza.chassis.telemetry.logs import get_logger

__all__ = ["FALLBACK_SECONDS", "Loop"]

FALLBACK_SECONDS = 3.0
"""How long a loop that serves the database sleeps at most: what another process wrote (the command line) is seen by then."""
_LONGEST_ERROR_PAUSE_SECONDS = 30.0
_STOP_SECONDS = 5.0

logger = get_logger(__name__)

Turn = Callable[[bool], Awaitable[float]]
"""Does what there is to do and returns for how many seconds nothing will be; the argument tells whether somebody rang."""


class Loop:
    """Calls a turn again and again. A turn that raises is logged and tried again, less and less often; it never ends the loop.

    Rings are remembered until the next turn, so that none is missed between looking and sleeping. The first turn counts as rung.
    """

    def __init__(self, turn: Turn, *, name: str, service: str) -> None:
        self._turn = turn
        self._name = name
        self._service = service
        self._bell = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with the first turn at once."""
        self._stopping = False
        self._bell.set()
        self._task = asyncio.create_task(self._run(), name=f"{self._service} {self._name}")

    def ring(self) -> None:
        """Let the next turn begin now."""
        self._bell.set()

    async def stop(self, timeout: float = _STOP_SECONDS) -> None:
        """Let a turn that is under way end, and begin no other. One that takes longer than ``timeout`` seconds is cancelled."""
        if self._task is None:
            return
        self._stopping = True
        self._bell.set()
        await asyncio.wait([self._task], timeout=max(timeout, 0.0))
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _run(self) -> None:
        pause, failures = 0.0, 0
        while True:
            rung = await self._sleep(pause)
            if self._stopping:
                return
            try:
                pause = await self._turn(rung)
                failures = 0
            except Exception:
                failures += 1
                pause = min(0.25 * 2.0**failures, _LONGEST_ERROR_PAUSE_SECONDS)
                logger.exception(
                    "background work failed", service=self._service, loop=self._name, failures=failures, next_try_seconds=pause
                )

    async def _sleep(self, seconds: float) -> bool:
        """Sleep until somebody rings or the time is over; returns whether somebody rang."""
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return False
        self._bell.clear()
        return True
