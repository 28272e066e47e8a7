"""Plans the renditions of one image: their exact sizes, and an order in which each is made from the smallest larger one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

__all__ = ["Box", "Step", "plan"]


class Box(NamedTuple):
    """What is asked of one rendition: a box in pixels, and how to fit into it."""

    width: int
    height: int
    fit: Literal["inside", "cover"]


class Step(NamedTuple):
    """How one rendition is made.

    ``whole`` is the size to which the whole upright image is scaled; the rendition is the part of it at (``left``, ``top``) of
    ``width`` x ``height``. ``source`` is the position in the plan of the step whose whole image is scaled, or None for the
    original.
    """

    order: int
    """The position of the rendition in the list that was planned."""
    source: int | None
    whole: tuple[int, int]
    left: int
    top: int
    width: int
    height: int


def plan(width: int, height: int, boxes: Sequence[Box]) -> list[Step]:
    """The steps for an upright image of ``width`` x ``height``, largest first. Nothing is ever enlarged.

    ``inside``: the side that limits becomes exactly the box's, the other one is its exact share, rounded half up, and at least 1.
    ``cover``: the whole is scaled until one side is exactly the box's and the other no shorter, or not at all where that would
    enlarge; then the middle of at most the box is cut out (of an odd surplus, the extra pixel goes from the right or the bottom).
    """
    wholes = [_whole(width, height, box) for box in boxes]
    steps: list[Step] = []
    for order in sorted(range(len(boxes)), key=lambda at: wholes[at], reverse=True):
        box, whole = boxes[order], wholes[order]
        source = next((at for at in reversed(range(len(steps))) if _holds(steps[at].whole, whole)), None)
        cut = (min(box.width, whole[0]), min(box.height, whole[1])) if box.fit == "cover" else whole
        left, top = (whole[0] - cut[0]) // 2, (whole[1] - cut[1]) // 2
        steps.append(Step(order, source, whole, left, top, *cut))
    return steps


def _holds(larger: tuple[int, int], smaller: tuple[int, int]) -> bool:
    return larger[0] >= smaller[0] and larger[1] >= smaller[1]


def _whole(width: int, height: int, box: Box) -> tuple[int, int]:
    """The size of the whole image when scaled for a box, in exact integer arithmetic."""
    if (box.width >= width and box.height >= height) or (box.fit == "cover" and (box.width >= width or box.height >= height)):
        return width, height
    width_limits = box.width * height <= box.height * width
    if width_limits == (box.fit == "inside"):
        return box.width, max(1, _rounded(height * box.width, width))
    return max(1, _rounded(width * box.height, height)), box.height


def _rounded(numerator: int, denominator: int) -> int:
    """The quotient, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)
