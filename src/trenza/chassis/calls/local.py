"""The local binding: a call within the process, with the rules of a remote one and without its cost."""

from __future__ import annotations

from typing import Any, TypeVar

from trenza.chassis.calls.binding import BROKE, TOO_SLOW, Invoke, bind_with, bounded_context, failed
from trenza.chassis.calls.bounds import OutOfTime, until
from trenza.chassis.context import current_context, use_context
from trenza.chassis.contract import CallFailed, Contract, ContractError, Operation
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["bind_local"]

C = TypeVar("C", bound=Contract)

_log = get_logger(__name__)


def bind_local(contract: type[C], implementation: C) -> C:
    """The contract as others see it, carried out by ``implementation`` in this process.

    Values pass by reference. The callee runs under the caller's context, with the deadline at most the operation's time-out
    away. Declared errors pass through as they are; everything else becomes `CallFailed` from its cause, logged once, exactly as
    it would over a wire. Cancellation passes through.
    """
    if not isinstance(implementation, contract):
        raise TypeError(f"{type(implementation).__name__} does not derive from {contract.__name__}, which it is to implement")

    def invoke(declared: Operation) -> Invoke:
        return _invoke(contract, declared, implementation)

    return bind_with(contract, "Local", invoke)


def _invoke(contract: type[Contract], declared: Operation, implementation: Contract) -> Invoke:
    """The way from complete arguments to the implementation and back."""
    function = getattr(implementation, declared.name)
    refusals = frozenset(declared.errors)

    async def call(arguments: dict[str, Any]) -> Any:
        context, deadline = bounded_context(current_context(), contract, declared)
        with use_context(context):
            try:
                return await until(deadline, function(**arguments))
            except ContractError as error:
                if type(error) in refusals:
                    raise
                _report(contract, declared, error)
                raise failed(contract, declared, BROKE) from error
            except OutOfTime as error:
                _log.warning("call timed out", callee=contract.service, operation=declared.name)
                raise failed(contract, declared, TOO_SLOW) from error
            except Exception as error:
                _report(contract, declared, error)
                raise failed(contract, declared, BROKE) from error

    return call


def _report(contract: type[Contract], declared: Operation, error: Exception) -> None:
    """Log what broke, with its correlation id. A failure of a further call was logged where it happened."""
    if not isinstance(error, CallFailed):
        _log.error("call broke", callee=contract.service, operation=declared.name, exc_info=error)
