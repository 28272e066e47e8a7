"""Messages that a worker has claimed before it has room for them, so that quick handlers need not wait for claims."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from trenza.chassis.messages.attempts import Attempt

__all__ = ["Reserve"]

_AHEAD_SECONDS = 0.05
"""So much work is held in reserve at most, by the time that handlers took lately: several times what a claim takes."""
_LARGEST = 100
"""Messages of one consumer. A process that is killed has counted an attempt for each of them."""
_STALE_SECONDS = 1.0
"""Who has waited longer is given back: the handlers have become slow, and another worker may have room."""
_SHORTEST_SECONDS = 1e-4
_SHARED_SECONDS = 0.5
"""How long slots are filled from the reserve alone. Then it is used up, so that a claim finds a free slot for others."""
_FORGETTING = 0.2
"""How much one quick handler shortens the time that is expected of the next; a slow one lengthens it at once."""


class _Waiting:
    """One message in reserve, in the order of the inbox."""

    def __init__(self, attempt: Attempt, until: datetime) -> None:
        self.attempt = attempt
        self.consumer = attempt.claimed.consumer
        self.until = until
        self.since = asyncio.get_running_loop().time()
        self.rank = (-attempt.claimed.priority, attempt.claimed.position)

    def __lt__(self, other: _Waiting) -> bool:
        return self.rank < other.rank


class Reserve:
    """What one worker holds in reserve, and how much it should. ``limits`` bounds the handlers of each consumer."""

    def __init__(self, limits: Mapping[str, int], concurrency: int) -> None:
        self._limits = limits
        self._concurrency = concurrency
        self._waiting: defaultdict[str, list[_Waiting]] = defaultdict(list)
        self._expected: dict[str, float] = {}
        self._began: dict[str, int] = {}
        self._beginnings = 0
        self._shared = float("-inf")

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def took(self, consumer: str, seconds: float) -> None:
        """A handler of this consumer has ended."""
        expected = self._expected.get(consumer, 0.0)
        if seconds < expected:
            seconds = expected + (seconds - expected) * _FORGETTING
        self._expected[consumer] = max(seconds, _SHORTEST_SECONDS)

    def wanted(self, busy: Mapping[str, int], oldest: Mapping[str, float], *, ending: int) -> dict[str, int]:
        """How many more messages of each consumer to hold, where less than half of its reserve is left.

        ``busy`` counts the handlers that run, ``oldest`` is for how many seconds the first of them has, ``ending`` how many
        messages wait for the record that they are handled. A consumer of which nothing is known yet gets no reserve, and so does
        one whose handlers are slow, or find all slots taken by others.
        """
        running, now, wanted = sum(busy.values()), asyncio.get_running_loop().time(), {}
        if running < self._concurrency:
            self._shared = now
        elif now - self._shared > _SHARED_SECONDS:
            return {}
        for consumer, expected in self._expected.items():
            seconds = max(expected, oldest.get(consumer, 0.0))
            slots = min(self._limits[consumer], self._concurrency - (running - busy.get(consumer, 0)))
            enough = min(int(slots * _AHEAD_SECONDS / seconds), _LARGEST - ending)
            held = len(self._waiting[consumer])
            if held <= enough // 2 < enough:
                wanted[consumer] = enough - held
        return wanted

    def put(self, attempt: Attempt, until: datetime) -> None:
        """Hold a message, whose lease lasts ``until`` then."""
        heappush(self._waiting[attempt.claimed.consumer], _Waiting(attempt, until))

    def take(self, busy: Mapping[str, int], now: datetime) -> Attempt | None:
        """The next message that may begin: of the highest priority, then of the consumer with the smallest share (see `Room`).

        None when there is none.
        One whose lease has run out is dropped: somebody else may have it.
        """
        shares = self.shares(busy)
        while True:
            heads = [
                waiting
                for consumer, waiting in self._waiting.items()
                if waiting and busy.get(consumer, 0) < self._limits[consumer]
            ]
            if not heads:
                return None
            fairest = min(heads, key=lambda head: (head[0].rank[0], *shares[head[0].consumer], head[0].rank[1]))
            first = heappop(fairest)
            if first.until > now:
                self._beginnings += 1
                self._began[first.consumer] = self._beginnings
                return first.attempt

    def shares(self, busy: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """How many messages of each consumer run, and the number of the beginning of its latest one."""
        return {consumer: (busy.get(consumer, 0), self._began.get(consumer, 0)) for consumer in self._limits}

    def held(self) -> list[Attempt]:
        """All messages in reserve."""
        return [each.attempt for waiting in self._waiting.values() for each in waiting]

    def stale(self) -> list[Attempt]:
        """Those that have waited for too long."""
        oldest = asyncio.get_running_loop().time() - _STALE_SECONDS
        return [each.attempt for waiting in self._waiting.values() for each in waiting if each.since < oldest]

    def prolong(self, until: datetime) -> None:
        """Their leases last until then."""
        for waiting in self._waiting.values():
            for each in waiting:
                each.until = until

    def remove(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Hold these no longer; returns those that were still here."""
        gone, removed = set(attempts), []
        for waiting in self._waiting.values():
            removed += [each.attempt for each in waiting if each.attempt in gone]
            waiting[:] = [each for each in waiting if each.attempt not in gone]
            heapify(waiting)
        return removed
