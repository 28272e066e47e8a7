"""What a service offers to others: operations, values, messages and errors, free of any framework."""

from __future__ import annotations

import inspect
import re
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, create_model

__all__ = [
    "CallFailed",
    "Contract",
    "ContractError",
    "Event",
    "Operation",
    "Task",
    "Value",
    "operation",
]

_MUTABLE = (list, dict, set, bytearray)
_OPERATION = "__trenza_operation__"
DEFAULT_CALL_TIMEOUT = 30.0
"""Seconds that an operation may take when it names no time-out of its own."""


class Value(BaseModel):
    """A frozen value that may cross a service boundary.

    Fields hold immutable types only (tuples, not lists), so that a local call can pass it by reference. Unknown fields are
    ignored on the way in: a newer peer may send more than this side knows.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if mutable := _mutable_part(field.annotation):
                message = f"{cls.__name__}.{name} holds a {mutable.__name__}; a Value holds immutable types only (use a tuple)"
                raise TypeError(message)


def _mutable_part(annotation: object) -> type | None:
    """The first mutable container that an annotation names, at any depth."""
    origin = get_origin(annotation) or annotation
    if isinstance(origin, type) and issubclass(origin, _MUTABLE):
        return origin
    for part in get_args(annotation):
        if found := _mutable_part(part):
            return found
    return None


class ContractError(Exception):
    """A refusal that callers are told about and may handle: it keeps its type across the wire.

    Subclasses set ``status`` (the HTTP status of the problem document) and may set ``code``; without one the code is the class
    name in snake case. ``fields`` must be JSON values; they appear as members of the problem document (for example ``field``,
    ``limit`` and ``remedy``).
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "contract_error"
    title: ClassVar[str] = "Request refused"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", cls.__name__)
        if "code" not in cls.__dict__:
            cls.code = words.replace(" ", "_").lower()
        if "title" not in cls.__dict__:
            cls.title = words.capitalize()

    def __init__(self, detail: str = "", **fields: JsonValue) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.fields: dict[str, JsonValue] = fields


class CallFailed(Exception):
    """A call to another service ended without its answer: it was unreachable, too slow, or broke.

    The callee **may or may not have run**. Repeat only what is idempotent. ``ran`` is ``False`` where the caller knows that the
    callee never started (an open breaker, a refused connection).
    """

    status: ClassVar[int] = 502

    def __init__(self, service: str, operation_name: str, reason: str, *, ran: bool | None = None) -> None:
        super().__init__(f"{service}.{operation_name}: {reason}")
        self.service = service
        self.operation_name = operation_name
        self.reason = reason
        self.ran = ran


class Message(Value):
    """What travels through the outbox and the inbox. Subclass `Event` or `Task`, not this."""

    message_type: ClassVar[str] = ""
    ordering_field: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # pydantic hands class keywords to __pydantic_init_subclass__ as well; only that one reads them.
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, *, type: str = "", key: str | None = None, **kwargs: Any) -> None:  # noqa: A002 - CloudEvents' word
        super().__pydantic_init_subclass__(**kwargs)
        if not type:
            if cls.__module__ == __name__:
                return
            message = f'{cls.__name__} needs a type: class {cls.__name__}({cls.__bases__[0].__name__}, type="service.Name")'
            raise TypeError(message)
        if key is not None and key not in cls.model_fields:
            message = f"{cls.__name__} is ordered by {key!r}, which is not one of its fields"
            raise TypeError(message)
        cls.message_type = type
        cls.ordering_field = key

    @property
    def ordering_key(self) -> str | None:
        """Messages of one type family with the same key are handled in the order in which they were committed."""
        return None if self.ordering_field is None else str(getattr(self, self.ordering_field))


class Event(Message):
    """A fact that a service announces: ``class PhotoCompleted(Event, type="photos.PhotoCompleted", key="photo_id")``."""


class Task(Message):
    """Work that a service gives itself: ``class RenderPhoto(Task, type="photos.RenderPhoto", key="photo_id")``."""


@dataclass(frozen=True)
class Operation:
    """One operation of a contract, with the models that carry it over a wire (built on first use)."""

    name: str
    function: Callable[..., Any]
    idempotent: bool
    timeout: float
    errors: tuple[type[ContractError], ...]

    @cached_property
    def parameters(self) -> type[BaseModel]:
        """A model of the keyword parameters."""
        hints = get_type_hints(self.function, include_extras=True)
        fields: dict[str, Any] = {
            name: (hints[name], ... if p.default is p.empty else p.default)
            for name, p in inspect.signature(self.function).parameters.items()
            if name != "self"
        }
        return create_model(f"{self.name}_parameters", __config__=ConfigDict(extra="ignore"), **fields)

    @cached_property
    def result(self) -> TypeAdapter[Any]:
        """An adapter of the return type."""
        return TypeAdapter(get_type_hints(self.function, include_extras=True)["return"])

    @cached_property
    def error_by_code(self) -> dict[str, type[ContractError]]:
        """The declared errors by their code."""
        return {error.code: error for error in self.errors}


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


class Contract(ABC):  # noqa: B024 - the abstract methods are those of each contract
    """The one typed surface of a service; others import it and nothing else.

    ``class Payments(Contract, service="payments", paths=("/payment",)): …`` with ``@operation(...)`` above ``@abstractmethod`` on
    each operation. Parameters are keyword-only and annotated. ``paths`` are the public URL prefixes that the service owns;
    ``events`` those it announces.
    """

    service: ClassVar[str] = ""
    paths: ClassVar[tuple[str, ...]] = ()
    events: ClassVar[tuple[type[Event], ...]] = ()
    operations: ClassVar[dict[str, Operation]] = {}

    def __init_subclass__(
        cls, *, service: str = "", paths: tuple[str, ...] = (), events: tuple[type[Event], ...] = (), **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if not service:  # an implementation of a contract, not a contract
            return
        cls.service, cls.paths, cls.events = service, paths, events
        cls.operations = {
            name: _operation_of(cls, name, member)
            for name, member in vars(cls).items()
            if inspect.isfunction(member) and not name.startswith("_")
        }
        for event in events:
            if not event.message_type.startswith(f"{service}."):
                message = f"{event.__name__} has the type {event.message_type!r}; events of {service} start with '{service}.'"
                raise TypeError(message)


def _operation_of(contract: type[Contract], name: str, function: Callable[..., Any]) -> Operation:
    """Check one method of a contract and describe it."""
    where = f"{contract.__name__}.{name}"
    declared = getattr(function, _OPERATION, None)
    if declared is None:
        message = f"{where} is public but is not declared with @operation(...)"
        raise TypeError(message)
    if not inspect.iscoroutinefunction(function):
        message = f"{where} must be `async def`: it may run in another process"
        raise TypeError(message)
    signature = inspect.signature(function)
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.annotation is parameter.empty:
            message = f"{where}: parameter {parameter.name!r} must be keyword-only and annotated"
            raise TypeError(message)
    if signature.return_annotation is signature.empty:
        message = f"{where} needs a return annotation"
        raise TypeError(message)
    return Operation(name=name, function=function, **declared)
