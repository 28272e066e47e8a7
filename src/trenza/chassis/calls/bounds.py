"""The time-out of a local call, for which a timer is set only once the callee really waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["OutOfTime", "until"]

T = TypeVar("T")


class OutOfTime(Exception):
    """The deadline passed. Not a `TimeoutError`: the callee may raise one of its own accord, which means something else."""


async def until(deadline: float, callee: Coroutine[Any, Any, T]) -> T:
    """The result of ``callee``, which is cancelled at ``deadline`` (in the loop's time); then raises `OutOfTime`.

    The callee runs up to its first wait right here. What ends before that (a cache hit, a rule) costs no timer, and the timer is
    half the price of a local call. Measured by ``bench/calls.py``.
    """
    try:
        waiting_for = callee.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    bound = asyncio.timeout_at(deadline)
    try:
        async with bound:
            result = await _Rest(callee, waiting_for)
    except TimeoutError as error:
        if bound.expired():
            raise OutOfTime from error
        raise
    return result


class _Rest:
    """What is left of a coroutine that waits for something: ``yield from`` (PEP 380) from its second step on."""

    def __init__(self, callee: Coroutine[Any, Any, Any], waiting_for: Any) -> None:
        self._callee = callee
        self._waiting_for = waiting_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting_for = self._waiting_for
        try:
            while True:
                try:
                    answer = yield waiting_for
                except GeneratorExit:
                    self._callee.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - whatever is thrown in here is meant for the callee
                    waiting_for = self._callee.throw(error)
                else:
                    waiting_for = self._callee.send(answer)
        except StopIteration as done:
            return done.value
