"""The local binding: values by reference, and time-outs that leave nothing behind."""

from __future__ import annotations

import asyncio
import inspect
from abc import abstractmethod

import pytest

from trenza.chassis.calls import bind_local
from trenza.chassis.calls.bounds import OutOfTime, until
from trenza.chassis.contract import CallFailed, Contract, ContractError, Value, operation


class Parcel(Value):
    weight: int


class TooHeavy(ContractError):
    pass


class Freight(Contract, service="freight"):
    @operation(errors=(TooHeavy,))
    @abstractmethod
    async def carry(self, *, parcel: Parcel, steps: int = 0) -> Parcel:
        """Carry it so many steps."""


class Lorry(Freight):
    def __init__(self) -> None:
        self.refusal = TooHeavy("No.")

    async def carry(self, *, parcel: Parcel, steps: int = 0) -> Parcel:
        for _ in range(steps):
            await asyncio.sleep(0)
        if parcel.weight > 10:
            raise self.refusal
        if parcel.weight < 0:
            raise ValueError(parcel.weight)
        return parcel


@pytest.mark.parametrize("steps", [0, 1, 5])
async def test_values_and_declared_errors_pass_by_reference(steps: int) -> None:
    lorry, light = Lorry(), Parcel(weight=1)
    freight = bind_local(Freight, lorry)
    assert await freight.carry(parcel=light, steps=steps) is light
    with pytest.raises(TooHeavy) as caught:
        await freight.carry(parcel=Parcel(weight=11), steps=steps)
    assert caught.value is lorry.refusal


@pytest.mark.parametrize("steps", [0, 3])
async def test_the_cause_of_a_failed_call_is_kept(steps: int) -> None:
    with pytest.raises(CallFailed) as caught:
        await bind_local(Freight, Lorry()).carry(parcel=Parcel(weight=-1), steps=steps)
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_bound_operation_looks_like_the_one_in_the_contract() -> None:
    freight = bind_local(Freight, Lorry())
    assert isinstance(freight, Freight)
    assert type(freight).__name__ == "LocalFreight"
    assert freight.carry.__doc__ == "Carry it so many steps."
    assert list(inspect.signature(freight.carry).parameters) == ["parcel", "steps"]


def test_what_does_not_implement_the_contract_is_refused_at_once() -> None:
    class Other:
        pass

    with pytest.raises(TypeError, match="Other does not derive from Freight"):
        bind_local(Freight, Other())  # type: ignore[type-var]  # what the test is about


async def ticks(number: int) -> int:
    for _ in range(number):
        await asyncio.sleep(0)
    return number


async def in_loops_time(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.mark.parametrize("number", [0, 1, 7])
async def test_until_gives_the_result_however_often_the_callee_waits(number: int) -> None:
    assert await until(await in_loops_time(30), ticks(number)) == number


async def test_until_ends_a_callee_at_the_deadline() -> None:
    ended = asyncio.Event()

    async def callee() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(OutOfTime):
        await until(await in_loops_time(0.01), callee())
    assert ended.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_until_ends_a_callee_that_was_late_before_it_first_waited() -> None:
    with pytest.raises(OutOfTime):
        await until(await in_loops_time(-1), ticks(3))


async def test_a_callee_may_hold_out_and_clean_up() -> None:
    """Cancellation is thrown into the callee, which may wait before it goes."""
    steps = []

    async def callee() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            steps.append("cleaned up")
            raise

    with pytest.raises(OutOfTime):
        await until(await in_loops_time(0.01), callee())
    assert steps == ["cleaned up"]


async def test_a_time_out_of_the_callees_own_stays_its_own() -> None:
    async def callee() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await until(await in_loops_time(30), callee())


async def test_an_error_after_waiting_passes() -> None:
    async def callee() -> None:
        await asyncio.sleep(0)
        raise KeyError("k")

    with pytest.raises(KeyError):
        await until(await in_loops_time(30), callee())


async def test_a_cancelled_callee_that_ends_well_is_still_a_time_out_for_nobody() -> None:
    """Who swallows the cancellation of a time-out is told of it all the same, as with `asyncio.timeout`."""

    async def callee() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "swallowed"
        return "never"

    assert await until(await in_loops_time(0.01), callee()) == "swallowed"


async def test_closing_what_waits_closes_the_callee() -> None:
    closed = []

    async def callee() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async def outer() -> None:
        await until(await in_loops_time(30), callee())

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == [True]
