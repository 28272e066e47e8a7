"""An event loop whose time leaps to the next timer as soon as nothing is ready."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Stalled", "VirtualTimeLoop"]


class Stalled(RuntimeError):
    """Nothing is ready and no timer is set: everybody waits for somebody else."""


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """Runs coroutines in virtual time: `asyncio.sleep` and time-outs take none of ours. It has no sockets and no threads.

    What is ready runs in the order in which it became so; two runs of the same code therefore go the same way.
    """

    _selector: Any

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = _Leap(self)
        self._clock_resolution = 1e-6  # timers closer together than this run in one turn

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def leap(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self._now += seconds

    def _process_events(self, event_list: Any) -> None:
        """There are none without a selector."""

    def _write_to_self(self) -> None:
        """Nobody waits in a system call, so nobody has to be woken there."""


class _Leap:
    """Stands where a loop waits for the operating system."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> tuple[()]:
        """Do not wait, but say that the time has passed."""
        if timeout is None:
            raise Stalled("nothing is ready and no timer is set")
        if timeout > 0:
            self._loop.leap(timeout)
        return ()
