"""The context of a piece of work."""

from __future__ import annotations

import asyncio

import pytest

from trenza.chassis.context import (
    ANONYMOUS,
    Context,
    active_context,
    current_context,
    new_correlation_id,
    use_context,
    valid_correlation_id,
)


def test_outside_of_any_work_each_context_is_fresh_and_anonymous() -> None:
    first, second = current_context(), current_context()
    assert active_context() is None
    assert first.principal is ANONYMOUS
    assert first.correlation_id != second.correlation_id


def test_a_block_runs_under_its_context_and_blocks_nest() -> None:
    outer, inner = Context(correlation_id="outer"), Context(correlation_id="inner")
    with use_context(outer):
        with use_context(inner) as entered:
            assert entered is current_context() is inner
        assert active_context() is outer
        with pytest.raises(ValueError, match="inside"), use_context(inner):
            raise ValueError("inside")
        assert active_context() is outer
    assert active_context() is None


async def test_a_task_inherits_the_context_in_which_it_was_made() -> None:
    async def correlation_id() -> str:
        return current_context().correlation_id

    with use_context(Context(correlation_id="parent")):
        child = asyncio.create_task(correlation_id())
    assert await child == "parent"


async def test_a_deadline_never_moves_outwards() -> None:
    context = Context(correlation_id="c")
    assert context.remaining() is None
    near = context.with_deadline_in(1)
    far = near.with_deadline_in(100)
    assert far is near
    remaining = near.with_deadline_in(-3).remaining()
    assert remaining is not None
    assert remaining <= -3


@pytest.mark.parametrize("candidate", ["a", "A-1._:z", "x" * 128])
def test_a_proper_correlation_id_is_kept(candidate: str) -> None:
    assert valid_correlation_id(candidate) == candidate


def test_a_fresh_correlation_id_is_a_proper_one() -> None:
    fresh = new_correlation_id()
    assert valid_correlation_id(fresh) == fresh


@pytest.mark.parametrize("candidate", [None, "", "x" * 129, "a b", "a\nlevel=error", "é", "a\n"])
def test_a_correlation_id_that_could_forge_a_log_line_is_not_believed(candidate: str | None) -> None:
    assert valid_correlation_id(candidate) is None
