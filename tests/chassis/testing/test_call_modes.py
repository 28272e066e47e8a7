"""The call modes themselves: that they tell a contract kept from one that is not."""

from __future__ import annotations

from abc import abstractmethod
from itertools import count

import pytest

from trenza.chassis import testing
from trenza.chassis.contract import CallFailed, Contract, ContractError, operation
from trenza.chassis.testing import CALL_MODES, BrokenPromise, CallMode, bind, call_modes


class Taken(ContractError):
    status = 409


class Register(Contract, service="register"):
    @operation(idempotent=True, errors=(Taken,))
    @abstractmethod
    async def reserve(self, *, name: str) -> int: ...

    @operation(errors=(Taken,))
    @abstractmethod
    async def append(self, *, name: str) -> int: ...


class Careful(Register):
    """Keeps its promise."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.appended = 0

    async def reserve(self, *, name: str) -> int:
        if name == "taken":
            raise Taken("That name is taken.", name=name)
        return self.names.setdefault(name, len(self.names))

    async def append(self, *, name: str) -> int:
        self.appended += len(name) > 0
        return self.appended


class Careless(Careful):
    """Says idempotent and is not: each call takes another number."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = count()

    async def reserve(self, *, name: str) -> int:
        if name == "once" and next(self._numbers) > 0:
            raise Taken("You had it already.")
        if name == "again":
            raise Taken(f"Attempt {next(self._numbers)}.")
        return next(self._numbers)


@call_modes
async def test_a_kept_promise_passes_in_every_mode(call_mode: CallMode) -> None:
    register = Careful()
    async with bind(Register, register, call_mode) as bound:
        assert await bound.reserve(name="a") == 0
        assert await bound.reserve(name="b") == 1
        assert await bound.reserve(name="a") == 0
        with pytest.raises(Taken, match="taken"):
            await bound.reserve(name="taken")
        assert await bound.append(name="x") == 1
    assert register.appended == 1


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("x", r"first answered 0, when repeated answered 1"),
        ("once", r"first answered 1, when repeated refused with Taken"),
        ("again", r"first refused with Taken\('Attempt 0.'\), when repeated refused with Taken\('Attempt 1.'\)"),
    ],
)
@pytest.mark.parametrize("call_mode", ["wire", "network"])
async def test_the_wire_exposes_a_broken_promise(call_mode: CallMode, name: str, ends: str) -> None:
    async with bind(Register, Careless(), call_mode) as bound:
        with pytest.raises(BrokenPromise, match=rf"Register\.reserve promises to be idempotent: {ends}"):
            await bound.reserve(name=name)


async def test_the_local_mode_calls_once() -> None:
    async with bind(Register, Careless(), "local") as bound:
        assert [await bound.reserve(name="x"), await bound.reserve(name="x")] == [0, 1]


class Unpredictable(Careful):
    async def reserve(self, *, name: str) -> int:
        raise ValueError(name)


@call_modes
async def test_a_failed_call_stays_one(call_mode: CallMode) -> None:
    async with bind(Register, Unpredictable(), call_mode) as bound:
        with pytest.raises(CallFailed):
            await bound.reserve(name="a")


def test_all_modes_are_run() -> None:
    assert CALL_MODES == ("local", "wire", "network")
    assert call_modes.args == ("call_mode", CALL_MODES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = testing.Nothing
    assert all(getattr(testing, name) for name in testing.__all__)
