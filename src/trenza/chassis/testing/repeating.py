"""A binding that repeats each idempotent call once, to expose operations that promise what they do not keep."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from trenza.chassis.calls.binding import Invoke, bind_with
from trenza.chassis.contract import Contract, ContractError, Operation

__all__ = ["BrokenPromise", "repeating"]

C = TypeVar("C", bound=Contract)


class BrokenPromise(AssertionError):
    """An operation is declared idempotent and answered the repeated call otherwise than the first."""


def repeating(contract: type[C], binding: C) -> C:
    """``binding``, with each idempotent call made twice. Both must end alike: in equal results, or in the same refusal."""

    def invoke(declared: Operation) -> Invoke:
        function = getattr(binding, declared.name)

        async def call(arguments: dict[str, Any]) -> Any:
            first = await _end(function, arguments)
            if declared.idempotent:
                second = await _end(function, arguments)
                if first.comparable() != second.comparable():
                    operation = declared.function.__qualname__
                    raise BrokenPromise(f"{operation} promises to be idempotent: first {first}, when repeated {second}")
            if first.refusal is not None:
                raise first.refusal
            return first.result

        return call

    return bind_with(contract, "Repeating", invoke)


class _End(NamedTuple):
    """How a call ended."""

    result: Any
    refusal: ContractError | None

    def comparable(self) -> object:
        """What must be equal."""
        if self.refusal is None:
            return self.result
        return type(self.refusal), self.refusal.detail, self.refusal.fields

    def __str__(self) -> str:
        return f"answered {self.result!r}" if self.refusal is None else f"refused with {self.refusal!r}"


async def _end(function: Any, arguments: dict[str, Any]) -> _End:
    try:
        return _End(await function(**arguments), None)
    except ContractError as refusal:
        return _End(None, refusal)
