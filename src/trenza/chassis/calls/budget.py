"""How much a process may add to the load of a callee by asking again: pauses between attempts, and a budget for all of them."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable

__all__ = ["MOST_ATTEMPTS", "RetryBudget", "pause_before"]

MOST_ATTEMPTS = 3
"""Of one call, the first included: the platform's specification."""
_LONGEST_PAUSE = 60.0
_FLOOR = 0.1
"""The part of the longest pause that is waited at least: full jitter alone may ask again at once."""

_WINDOW_SECONDS = 10.0
_RATIO = 0.2
"""Retries per call within the window. Both are the defaults of Finagle's ``RetryBudget`` and of Linkerd."""
_FLOOR_PER_SECOND = 1.0
"""Retries that a process with few calls has all the same. Finagle gives 10, for far busier processes."""


class RetryBudget:
    """Bounds the retries to one callee by a fifth of the calls of the last ten seconds, and one a second besides.

    When everything fails, three attempts for each call would triple the load on a callee that is in trouble already.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seconds: deque[_Second] = deque()
        self._calls = self._retries = 0

    def count_call(self) -> None:
        """Another call began."""
        self._now().calls += 1
        self._calls += 1

    def withdraw(self) -> bool:
        """Whether one more retry is within the budget; it is counted when it is."""
        now = self._now()
        if self._retries + 1 > self._calls * _RATIO + _FLOOR_PER_SECOND * _WINDOW_SECONDS:
            return False
        now.retries += 1
        self._retries += 1
        return True

    def _now(self) -> _Second:
        """The current second of the window, which ends here."""
        second = int(self._monotonic())
        while self._seconds and self._seconds[0].number <= second - _WINDOW_SECONDS:
            old = self._seconds.popleft()
            self._calls -= old.calls
            self._retries -= old.retries
        if not self._seconds or self._seconds[-1].number != second:
            self._seconds.append(_Second(second))
        return self._seconds[-1]


class _Second:
    """What happened in one second."""

    __slots__ = ("calls", "number", "retries")

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls = self.retries = 0


def pause_before(attempt: int, base: float, chance: random.Random) -> float:
    """Seconds to wait before ``attempt`` (2 is the first retry): full jitter (M. Brooker, AWS, 2015) with a floor.

    ``base`` is the longest pause before attempt 2; it doubles with each further one, up to a minute.
    """
    longest = min(_LONGEST_PAUSE, base * 2.0 ** (attempt - 2))
    return max(longest * _FLOOR, chance.uniform(0.0, longest))
