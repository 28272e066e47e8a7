"""Moving windows: what was counted of whom, within one process."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol

from trenza.chassis.rates import Rate, Window

__all__ = ["MOST_CALLERS", "MOST_HITS", "MemoryWindows", "Standing", "Verdict", "Windows"]

MOST_CALLERS = 50_000
"""Callers (of one window each) that one process remembers: some 15 MB. Whoever has asked least recently is forgotten first."""
MOST_HITS = 2_000_000
"""Requests that one process remembers: 16 MB."""


class Standing(NamedTuple):
    """How one window stands: what is left of it, and the seconds until more will be (0 where nothing is used)."""

    window: Window
    remaining: int
    seconds: float


class Verdict(NamedTuple):
    """Whether a request may pass (and was counted: what may not pass is not), and how each window of its rate stands then.

    ``moment`` is when it was counted, by the clock of the windows.
    """

    allowed: bool
    standings: tuple[Standing, ...]
    moment: float

    @property
    def decisive(self) -> Standing:
        """The window that a client should heed: of those that are full the one to wait for longest, else the fullest."""
        if len(self.standings) == 1:
            return self.standings[0]
        return min(self.standings, key=lambda standing: (standing.remaining, -standing.seconds))


class Windows(Protocol):
    """Where requests are counted."""

    async def take(self, key: str, rate: Rate) -> Verdict:
        """Count one request of ``key`` in all windows of the rate, or in none where one is full."""
        ...

    async def give_back(self, key: str, rate: Rate, moment: float) -> None:
        """Forget what was counted at a moment: the request was refused all the same, by another limit."""
        ...


class MemoryWindows:
    """Windows of one process, bounded in memory.

    The moments of a caller lie in an array, sorted; a look is two binary searches. ``now`` gives seconds of any steady clock.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        most_callers: int = MOST_CALLERS,
        most_hits: int = MOST_HITS,
    ) -> None:
        self._now = now
        self._most_callers, self._most_hits = most_callers, most_hits
        self._logs: dict[Window, OrderedDict[str, array[float]]] = {}
        self._callers = self._hits = 0
        self._latest = float("-inf")

    async def take(self, key: str, rate: Rate) -> Verdict:
        """Count one request. It waits for nothing."""
        now = self._moment()
        found = [(window, *self._look(key, window, now)) for window in rate.windows]
        allowed = True
        for window, hits, gone in found:
            if len(hits) - gone >= window.amount:
                allowed = False
        standings = []
        for window, hits, gone in found:
            if allowed:
                hits.append(now)
                self._hits += 1
            left = window.amount - (len(hits) - gone)
            standings.append(Standing(window, left, hits[gone] + window.seconds - now if gone < len(hits) else 0.0))
        if self._callers > self._most_callers or self._hits > self._most_hits:
            self._forget()
        return Verdict(allowed, tuple(standings), now)

    async def give_back(self, key: str, rate: Rate, moment: float) -> None:
        """Forget one request that was counted at a moment, if it is remembered."""
        for window in rate.windows:
            logs = self._logs.get(window)
            hits = None if logs is None else logs.get(key)
            if hits is None:
                continue
            place = bisect_right(hits, moment) - 1
            if place >= 0 and hits[place] == moment:
                del hits[place]
                self._hits -= 1

    def __len__(self) -> int:
        """How many callers are remembered, one for each window."""
        return self._callers

    def _moment(self) -> float:
        """Now, and never earlier than before: the moments stay sorted even where a clock is set back."""
        now = self._now()
        if now < self._latest:
            return self._latest
        self._latest = now
        return now

    def _look(self, key: str, window: Window, now: float) -> tuple[array[float], int]:
        """The moments of a caller, and how many of them have left the window."""
        logs = self._logs.get(window)
        if logs is None:
            logs = self._logs[window] = OrderedDict()
        hits = logs.get(key)
        if hits is None:
            self._sweep(logs, now - window.seconds)
            hits = logs[key] = array("d")
            self._callers += 1
            return hits, 0
        logs.move_to_end(key)
        gone = bisect_right(hits, now - window.seconds)
        if gone * 2 > len(hits):  # now and then: moving the rest costs as much as there is of it
            del hits[:gone]
            self._hits -= gone
            gone = 0
        return hits, gone

    def _sweep(self, logs: OrderedDict[str, array[float]], before: float) -> None:
        """Forget whose requests have all left the window: two for each that comes, so that they never pile up."""
        for _ in range(2):
            key = next(iter(logs), None)
            if key is None or any(hit > before for hit in logs[key][-1:]):
                return
            self._drop(logs, key)

    def _forget(self) -> None:
        """Make room. It is taken from the window that has most callers, which is where a flood of addresses arrives."""
        while self._callers > self._most_callers or self._hits > self._most_hits:
            logs = max(self._logs.values(), key=len)
            self._drop(logs, next(iter(logs)))

    def _drop(self, logs: OrderedDict[str, array[float]], key: str) -> None:
        self._hits -= len(logs.pop(key))
        self._callers -= 1
