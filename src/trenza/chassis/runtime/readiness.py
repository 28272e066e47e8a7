"""Whether this process takes work, and how long it may still take to finish what it has."""

from __future__ import annotations

import time

__all__ = ["Readiness"]


class Readiness:
    """Starting (not ready) → ready → draining (not ready, with a deadline). Seen by ``/health/ready`` and by the server."""

    def __init__(self, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._ready = False
        self._drain_until: float | None = None

    @property
    def ready(self) -> bool:
        """Whether work can be accepted."""
        return self._ready and not self.draining

    @property
    def draining(self) -> bool:
        """Whether the process is on its way out."""
        return self._drain_until is not None

    def started(self) -> None:
        """Everything is up."""
        self._ready = True

    def drain(self) -> None:
        """Take no more work; the drain's time runs from the first call."""
        if self._drain_until is None:
            self._drain_until = time.monotonic() + self._drain_seconds

    def hurry(self) -> None:
        """End the drain's time now."""
        self._drain_until = time.monotonic()

    def seconds_left(self) -> float:
        """What is left of the drain's time; all of it before it began."""
        return self._drain_seconds if self._drain_until is None else max(0.0, self._drain_until - time.monotonic())
