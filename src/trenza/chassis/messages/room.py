"""The room of a worker, and how it is shared out among those who wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["Room", "share_out"]


@dataclass(frozen=True, slots=True)
class Room:
    """How many messages a worker wants: those that can begin at once, and those that it may hold in reserve.

    ``slots`` and ``reserve`` are by consumer; of the former it takes ``free`` at most over all consumers. What was attempted
    before is never held in reserve: were the process to die once more, an attempt would be counted that did not begin.
    ``shares`` tells for each consumer how many of its messages run, and a number that grows with the moment when it last began
    one: by them the room is shared out.
    """

    free: int
    slots: Mapping[str, int]
    reserve: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def consumers(self) -> list[str]:
        """Those whose messages are wanted."""
        begin = {consumer for consumer, slots in self.slots.items() if slots > 0} if self.free > 0 else set()
        return sorted(begin | {consumer for consumer, reserve in self.reserve.items() if reserve > 0})

    @property
    def size(self) -> int:
        """How many messages fit at most."""
        return max(self.free, 0) + sum(self.reserve.values())


def share_out(room: Room, found: Sequence[sa.Row[Any]]) -> list[sa.Row[Any]]:
    """The candidates that fit: no more of a consumer than it has room for, one of each ordering key.

    Those of the highest priority come first, then those of the consumers with the fewest at work, then the oldest.
    """
    free, slots, reserve = room.free, dict(room.slots), dict(room.reserve)
    keys: set[tuple[str, str]] = set()
    chosen = []
    for row in _fairly(room, found):
        if row.ordering_key is not None and (row.consumer, row.ordering_key) in keys:
            continue
        if free > 0 and slots.get(row.consumer, 0) > 0:
            free -= 1
            slots[row.consumer] -= 1
        elif row.attempts == 0 and reserve.get(row.consumer, 0) > 0:
            reserve[row.consumer] -= 1
        else:
            continue
        if row.ordering_key is not None:
            keys.add((row.consumer, row.ordering_key))
        chosen.append(row)
    return chosen


def _fairly(room: Room, found: Sequence[sa.Row[Any]]) -> list[sa.Row[Any]]:
    """By priority; within one, the next is of the consumer that has the fewest at work then, or began longest ago."""
    works: Counter[str] = Counter({consumer: count for consumer, (count, _) in room.shares.items()})
    ranks: dict[int, tuple[int, int, int, int]] = {}
    for row in sorted(found, key=lambda row: (-row.priority, row.position)):
        _, began = room.shares.get(row.consumer, (0, 0))
        ranks[row.position] = (-row.priority, works[row.consumer], began, row.position)
        works[row.consumer] += 1
    return sorted(found, key=lambda row: ranks[row.position])
