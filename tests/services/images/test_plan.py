"""The sizes and the order of renditions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trenza.services.images.plan import Box, Step, plan

sides = st.integers(1, 65_535)
boxes = st.lists(st.builds(Box, st.integers(1, 16_383), st.integers(1, 16_383), st.sampled_from(["inside", "cover"])), max_size=6)


def only(width: int, height: int, box: Box) -> Step:
    (step,) = plan(width, height, [box])
    return step


@pytest.mark.parametrize(
    ("image", "box", "whole", "size"),
    [
        ((4000, 3000), Box(2048, 2048, "inside"), (2048, 1536), (2048, 1536)),
        ((3000, 4000), Box(2048, 2048, "inside"), (1536, 2048), (1536, 2048)),
        ((4000, 3000), Box(320, 320, "cover"), (427, 320), (320, 320)),
        ((20_000, 40), Box(2048, 2048, "inside"), (2048, 4), (2048, 4)),
        ((20_000, 40), Box(320, 320, "cover"), (20_000, 40), (320, 40)),
        ((20_000, 4), Box(640, 640, "inside"), (640, 1), (640, 1)),
        ((500, 200), Box(320, 320, "cover"), (500, 200), (320, 200)),
        ((100, 80), Box(2048, 2048, "inside"), (100, 80), (100, 80)),
        ((1, 1), Box(320, 320, "cover"), (1, 1), (1, 1)),
        ((1001, 999), Box(500, 500, "inside"), (500, 499), (500, 499)),
        ((1000, 375), Box(4, 4, "inside"), (4, 2), (4, 2)),  # 1.5 rounds up
    ],
)
def test_sizes(image: tuple[int, int], box: Box, whole: tuple[int, int], size: tuple[int, int]) -> None:
    step = only(*image, box)
    assert step.whole == whole
    assert (step.width, step.height) == size


def test_the_middle_is_cut_out() -> None:
    assert only(4000, 3000, Box(320, 320, "cover"))[3:5] == (53, 0)
    assert only(3000, 4000, Box(320, 320, "cover"))[3:5] == (0, 53)


def test_each_rendition_comes_from_the_smallest_larger_one() -> None:
    steps = plan(
        4000, 3000, [Box(320, 320, "cover"), Box(640, 640, "inside"), Box(1280, 1280, "inside"), Box(2048, 2048, "inside")]
    )
    assert [(step.order, step.source) for step in steps] == [(3, None), (2, 0), (1, 1), (0, 2)]


@given(sides, sides, boxes)
def test_rules_hold_for_all_sizes(width: int, height: int, wanted: list[Box]) -> None:
    steps = plan(width, height, wanted)
    assert sorted(step.order for step in steps) == list(range(len(wanted)))
    for at, step in enumerate(steps):
        box = wanted[step.order]
        assert 1 <= step.width <= min(box.width, width)
        assert 1 <= step.height <= min(box.height, height)
        assert 0 <= step.left <= step.whole[0] - step.width
        assert 0 <= step.top <= step.whole[1] - step.height
        assert step.whole[0] <= width
        assert step.whole[1] <= height
        if step.source is not None:
            assert step.source < at
            assert steps[step.source].whole[0] >= step.whole[0]
            assert steps[step.source].whole[1] >= step.whole[1]
        # One side is exact, the other within half a pixel of its share (but at least one).
        scales = Fraction(step.whole[0], width), Fraction(step.whole[1], height)
        errors = [max(abs(step.whole[0] - width * scale), abs(step.whole[1] - height * scale)) for scale in scales]
        assert min(errors) <= Fraction(1, 2) or 1 in step.whole
        if box.fit == "inside":
            assert (step.width, step.height) == step.whole
            assert box.width in step.whole or box.height in step.whole or step.whole == (width, height)
        elif step.whole != (width, height):
            assert step.width == box.width
            assert step.height == box.height
