"""In which lane beside the boxes each wire runs, so that no two lie on each other and none crosses a box."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["LANE", "lanes_for"]

LANE = 14
"""Pixels from one lane to the next."""
_APART = 10


def lanes_for(spans: Mapping[int, tuple[float, float]]) -> dict[int, int]:
    """The lane of each wire, 0 next to the boxes, by the span that it takes from top to bottom: short ones inside."""
    lanes: list[list[tuple[float, float]]] = []
    found = {}
    for number, (top, bottom) in sorted(spans.items(), key=lambda item: (item[1][1] - item[1][0], item[1], item[0])):
        free = next(
            (index for index, taken in enumerate(lanes) if all(bottom + _APART < a or b + _APART < top for a, b in taken)),
            len(lanes),
        )
        if free == len(lanes):
            lanes.append([])
        lanes[free].append((top, bottom))
        found[number] = free
    return found
