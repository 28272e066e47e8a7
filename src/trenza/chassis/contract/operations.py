"""One operation of a contract: its declaration, its checks, and the models that carry it over a wire."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NotRequired, TypeVar, get_type_hints

from pydantic import RootModel, create_model
from typing_extensions import TypedDict  # pydantic accepts typing's own from Python 3.12 on

from trenza.chassis.contract.errors import ContractError
from trenza.chassis.contract.values import DEFINE_ABOVE, WIRE_CONFIG, refuse_mutable

__all__ = ["DEFAULT_CALL_TIMEOUT", "Carried", "Operation", "operation", "operation_of"]

DEFAULT_CALL_TIMEOUT = 30.0
"""Seconds that an operation may take when it names no time-out of its own."""

_OPERATION = "__trenza_operation__"


class Carried(RootModel[dict[str, Any]]):
    """A JSON object on its way over a wire. Its root is a typed dictionary, as keys shadow nothing (``copy``, ``json``)."""

    model_config = WIRE_CONFIG

    @classmethod
    def pack(cls, members: dict[str, Any]) -> bytes:
        """The members as JSON. Raises `PydanticSerializationError` for one that is not what is annotated."""
        return cls.model_construct(members).model_dump_json(warnings="error").encode()

    @classmethod
    def unpack(cls, body: bytes) -> dict[str, Any]:
        """The members in a JSON text. Raises `pydantic.ValidationError`."""
        return cls.model_validate_json(body).root


@dataclass(frozen=True)
class Operation:
    """One operation of a contract, with the models that carry it over a wire (built on first use)."""

    name: str
    function: Callable[..., Any]
    idempotent: bool
    timeout: float
    errors: tuple[type[ContractError], ...]
    hints: Mapping[str, Any]
    """The resolved annotations of the keyword parameters, and ``return``."""
    defaults: Mapping[str, Any]
    """What the contract gives for parameters that the caller leaves out."""

    @cached_property
    def parameters(self) -> type[Carried]:
        """The keyword parameters as a JSON object."""
        fields = {
            name: NotRequired[hint] if name in self.defaults else hint for name, hint in self.hints.items() if name != "return"
        }
        return _carried(f"{self.name}_parameters", fields)

    @cached_property
    def result(self) -> type[Carried]:
        """The answer as a JSON object, ``{"result": …}``."""
        return _carried(f"{self.name}_answer", {"result": self.hints["return"]})

    @cached_property
    def error_by_code(self) -> dict[str, type[ContractError]]:
        """The declared errors by their code."""
        return {error.code: error for error in self.errors}

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.hints) - {"return"}

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """The given arguments with the contract's defaults. Raises `TypeError` for an unknown or a missing name."""
        complete = {**self.defaults, **given}
        if complete.keys() != self._names:
            unknown, missing = sorted(complete.keys() - self._names), sorted(self._names - complete.keys())
            wrong = [f"takes no {name!r}" for name in unknown] + [f"needs {name!r}" for name in missing]
            raise TypeError(f"{self.function.__qualname__}() {', '.join(wrong)}")
        return complete

    def check_implementation(self, where: str, function: object) -> None:
        """Raise a `TypeError` when a method cannot stand in for this operation."""
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{where} must be `async def`, as its contract declares it")
        parameters = list(inspect.signature(function).parameters.values())[1:]
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return
        accepted = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
        required = {p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL}
        if missing := sorted(self._names - accepted):
            raise TypeError(f"{where} lacks the parameter {missing[0]!r} of its contract; take the same parameters")
        if extra := sorted(required - self._names):
            raise TypeError(f"{where} requires the parameter {extra[0]!r}, which its contract does not have; add it there")


def _carried(name: str, fields: dict[str, Any]) -> type[Carried]:
    """The carrier of a JSON object with these fields."""
    return create_model(name, __base__=Carried, root=(TypedDict(f"{name}_members", fields), ...))  # type: ignore[operator]  # built from data


F = TypeVar("F", bound=Callable[..., Any])


def operation(
    *, idempotent: bool = False, timeout: float = DEFAULT_CALL_TIMEOUT, errors: tuple[type[ContractError], ...] = ()
) -> Callable[[F], F]:
    """Declare an operation of a contract.

    ``idempotent`` promises that asking again changes nothing, which lets the chassis retry. ``timeout`` is in seconds and bounds
    the call together with the caller's deadline. ``errors`` are the refusals that keep their type; anything else that the
    implementation raises reaches the caller as `CallFailed`, local or remote.
    """

    def declare(function: F) -> F:
        setattr(function, _OPERATION, {"idempotent": idempotent, "timeout": timeout, "errors": errors})
        return function

    return declare


def operation_of(contract_name: str, name: str, member: object) -> Operation:
    """Check one public member of a contract and describe it; raises a `TypeError` that says what to do."""
    where = f"{contract_name}.{name}"
    declared = getattr(member, _OPERATION, None)
    if declared is None or not inspect.isfunction(member):
        raise TypeError(f"{where} is public but is not declared with @operation(...); declare it, or name it _{name}")
    if not inspect.iscoroutinefunction(member):
        raise TypeError(f"{where} must be `async def`: it may run in another process")
    if not getattr(member, "__isabstractmethod__", False):
        raise TypeError(f"{where} needs @abstractmethod below @operation(...): its body belongs into the service")
    defaults = _check_signature(where, inspect.signature(member))
    try:
        hints = get_type_hints(member, include_extras=True)
    except NameError as error:
        raise TypeError(f"{where}: {error.name!r} is unknown; {DEFINE_ABOVE}") from error
    for parameter, hint in hints.items():
        refuse_mutable(f"{where}: the result" if parameter == "return" else f"{where}: parameter {parameter!r}", hint)
    _check_declaration(where, timeout=declared["timeout"], errors=declared["errors"])
    return Operation(name=name, function=member, hints=hints, defaults=defaults, **declared)


def _check_signature(where: str, signature: inspect.Signature) -> dict[str, Any]:
    """Check how the operation is called, and return the defaults of its parameters."""
    defaults = {}
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.annotation is parameter.empty:
            raise TypeError(f"{where}: parameter {parameter.name!r} must be keyword-only and annotated (put `*` after self)")
        if parameter.default is not parameter.empty:
            kind = type(parameter.default)
            if kind.__hash__ is None:
                raise TypeError(f"{where}: the default of {parameter.name!r} is a mutable {kind.__name__}; use a tuple")
            defaults[parameter.name] = parameter.default
    if signature.return_annotation is signature.empty:
        raise TypeError(f"{where} needs a return annotation (`-> None` when it answers nothing)")
    return defaults


def _check_declaration(where: str, *, timeout: float, errors: object) -> None:
    """Check what stands between the parentheses of @operation."""
    if not 0 < timeout < math.inf:
        raise TypeError(f"{where}: timeout is {timeout}; give the seconds that it may take, more than 0")
    if not isinstance(errors, tuple):
        raise TypeError(f"{where}: errors must be a tuple: errors=(CardDeclined,)")
    codes: dict[str, type[ContractError]] = {}
    for error in errors:
        if not (isinstance(error, type) and issubclass(error, ContractError)):
            raise TypeError(f"{where}: {error!r} is not a ContractError; derive it from ContractError, or leave it out")
        if error.__init__ is not ContractError.__init__:
            raise TypeError(f"{where}: {error.__name__} has its own __init__, which the wire cannot call; pass fields instead")
        if error.code in codes:
            raise TypeError(
                f"{where}: {error.__name__} and {codes[error.code].__name__} share the code {error.code!r}; change one"
            )
        codes[error.code] = error
