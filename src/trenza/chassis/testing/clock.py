"""A clock that stands still until it is moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["ManualClock"]

_START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class ManualClock:
    """A `Clock` for tests and simulations. It does not wake sleepers: tell those whom it concerns after moving it."""

    def __init__(self, start: datetime = _START) -> None:
        if start.tzinfo is None:
            raise ValueError("the start of a ManualClock must be aware: give it a timezone")
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """The time to which the clock was set last, aware, in UTC."""
        return self._now

    def advance(self, seconds: float) -> datetime:
        """Move the clock forwards by so many seconds and return the new time."""
        if seconds < 0:
            raise ValueError("time does not run backwards: advance by 0 seconds or more")
        self._now += timedelta(seconds=seconds)
        return self._now

    def set(self, moment: datetime) -> datetime:
        """Set the clock to a moment, which may be earlier than now (a corrected clock), and return it in UTC."""
        if moment.tzinfo is None:
            raise ValueError("a ManualClock is set to an aware moment: give it a timezone")
        self._now = moment.astimezone(UTC)
        return self._now
