"""How often something may be done, and how that is written: ``100/minute``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

__all__ = ["LONGEST_WINDOW", "MOST_REQUESTS", "Rate", "Window"]

MOST_REQUESTS = 100_000
"""The largest number of a window. Each request that counts is remembered, at 8 bytes here and some 20 in Redis."""
LONGEST_WINDOW = 31 * 86_400
"""Seconds. What is longer is a matter of accounts, not of traffic."""

_UNITS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_WRITTEN = re.compile(rf"([0-9]{{1,9}}) ?/ ?(?:([0-9]{{1,9}}) ?)?({'|'.join(_UNITS)})s?", re.ASCII)


class Window(NamedTuple):
    """At most ``amount`` requests in any ``seconds`` on end."""

    amount: int
    seconds: int

    def __str__(self) -> str:
        unit = next(name for name, seconds in reversed(_UNITS.items()) if self.seconds % seconds == 0)
        count = self.seconds // _UNITS[unit]
        return f"{self.amount}/{unit}" if count == 1 else f"{self.amount}/{count} {unit}s"


@dataclass(frozen=True, slots=True)
class Rate:
    """One or more windows, the shortest first, all of which must have room."""

    windows: tuple[Window, ...]

    @classmethod
    def read(cls, text: str) -> Rate:
        """``100/minute``, ``5/10 minutes``, or several: ``10/second, 1000/day``. Units: second, minute, hour, day.

        Raises `ValueError`, which says what to write, also for windows of which one could never be full.
        """
        windows = sorted((_window(part.strip()) for part in text.split(",")), key=lambda window: window.seconds)
        for short, long in pairwise(windows):
            if short.seconds == long.seconds:
                raise ValueError(f"{short} and {long} are about the same time; keep one")
            if short.amount >= long.amount:
                raise ValueError(f"{short} is never reached, because of {long}; lower it or leave it out")
            if short.amount * long.seconds <= long.amount * short.seconds:
                raise ValueError(f"{long} is never reached, because of {short}; lower it or leave it out")
        return cls(tuple(windows))

    def __str__(self) -> str:
        return ", ".join(str(window) for window in self.windows)


def _window(text: str) -> Window:
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no rate; write a number and second, minute, hour or day, such as 100/minute")
    amount, seconds = int(match[1]), int(match[2] or 1) * _UNITS[match[3]]
    if not 1 <= amount <= MOST_REQUESTS:
        raise ValueError(f"{text!r} allows {amount} requests; write 1 to {MOST_REQUESTS}")
    if not 1 <= seconds <= LONGEST_WINDOW:
        raise ValueError(f"{text!r} is about {seconds} seconds; write 1 second to {LONGEST_WINDOW // 86_400} days")
    return Window(amount, seconds)
