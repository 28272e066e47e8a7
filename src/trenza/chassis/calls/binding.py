"""What every binding of a contract shares: the class that stands in for it, the bounds of a call, and how calls fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar, cast

from trenza.chassis.context import Context
from trenza.chassis.contract import CallFailed, Contract, Operation
from trenza.chassis.data.work import forbid_open_work

__all__ = ["BROKE", "NO_TIME_LEFT", "TOO_SLOW", "Invoke", "bind_with", "bounded_context", "failed"]

BROKE = "it broke; its log tells why, under the same correlation id"
TOO_SLOW = "it did not answer in time"
NO_TIME_LEFT = "the deadline had passed before it started"

C = TypeVar("C", bound=Contract)

Invoke = Callable[[dict[str, Any]], Awaitable[Any]]
"""Carries out one operation with complete arguments."""


def bind_with(contract: type[C], how: str, invoke: Callable[[Operation], Invoke]) -> C:
    """An instance of ``contract`` whose operations run through ``invoke(operation)``.

    Whatever the binding, a call inside an open unit of work raises `NestedUnitOfWork`, and wrong argument names `TypeError`.
    """
    methods = {name: _method(contract, declared, invoke(declared)) for name, declared in contract.operations.items()}
    return cast("C", type(f"{how}{contract.__name__}", (contract,), {**methods, "__module__": contract.__module__})())


def _method(contract: type[Contract], declared: Operation, invoke: Invoke) -> Callable[..., Awaitable[Any]]:
    """One operation of the class that stands in for a contract."""
    what = f"call {contract.service}.{declared.name}"
    complete = declared.arguments

    @wraps(declared.function)
    async def method(_self: Contract, **given: Any) -> Any:
        arguments = complete(given)
        forbid_open_work(what)
        return await invoke(arguments)

    # `wraps` copied it from the abstract method; a class made of these is concrete.
    method.__isabstractmethod__ = False  # type: ignore[attr-defined]
    return method


def bounded_context(context: Context, contract: type[Contract], declared: Operation) -> tuple[Context, float]:
    """The context under which an operation runs, and its deadline: at most the operation's time-out away.

    Raises `CallFailed` with ``ran=False`` when the caller's deadline has passed already.
    """
    now = asyncio.get_running_loop().time()
    deadline = now + declared.timeout
    if context.deadline is not None and context.deadline < deadline:
        deadline = context.deadline
        if deadline <= now:
            raise failed(contract, declared, NO_TIME_LEFT, ran=False)
    bounded = Context(
        correlation_id=context.correlation_id,
        principal=context.principal,
        deadline=deadline,
        traceparent=context.traceparent,
        service=contract.service,
    )
    return bounded, deadline


def failed(contract: type[Contract], declared: Operation, reason: str, *, ran: bool | None = None) -> CallFailed:
    """A `CallFailed` of this operation."""
    return CallFailed(contract.service, declared.name, reason, ran=ran)
