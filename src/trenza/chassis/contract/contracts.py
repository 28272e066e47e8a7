"""The contract of a service: the one typed surface that others import."""

from __future__ import annotations

import inspect
import re
from abc import ABC
from typing import Any, ClassVar

from pydantic import JsonValue

from trenza.chassis.contract.description import describe
from trenza.chassis.contract.errors import ContractError
from trenza.chassis.contract.messages import Event
from trenza.chassis.contract.operations import Operation, operation_of

__all__ = ["Contract"]

_SERVICE = re.compile(r"[a-z][a-z0-9_]*")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class Contract(ABC):  # noqa: B024 - the abstract methods are those of each contract
    """The one typed surface of a service; others import it and nothing else.

    ``class Payments(Contract, service="payments", paths=("/payment",)): …`` with ``@operation(...)`` above ``@abstractmethod`` on
    each operation. Parameters are keyword-only and annotated. ``paths`` are the public URL prefixes that the service owns
    (``/`` is the root path itself, not what lies below it);
    ``events`` those it announces. Every mistake raises a `TypeError` when the module is imported.
    """

    service: ClassVar[str] = ""
    paths: ClassVar[tuple[str, ...]] = ()
    events: ClassVar[tuple[type[Event], ...]] = ()
    operations: ClassVar[dict[str, Operation]] = {}

    def __init__(self, _resources: object = None, /) -> None:
        """For implementations that need none of their resources: they may leave theirs out."""
        super().__init__()

    def __init_subclass__(
        cls, *, service: str = "", paths: tuple[str, ...] = (), events: tuple[type[Event], ...] = (), **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if service:
            _check_header(cls, service, paths)
            cls.operations = _operations_of(cls)
            cls.service, cls.paths, cls.events = service, paths, events
            _check_events(cls)
        elif Contract in cls.__bases__:
            raise TypeError(f'{cls.__name__} names no service: class {cls.__name__}(Contract, service="…")')
        else:
            for name, declared in cls.operations.items():
                if name in vars(cls):
                    declared.check_implementation(f"{cls.__name__}.{name}", vars(cls)[name])

    @classmethod
    def schema(cls) -> dict[str, JsonValue]:
        """The contract as JSON: operations with parameters, results and errors, and events. Equal contracts give equal JSON."""
        return describe(service=cls.service, paths=cls.paths, operations=tuple(cls.operations.values()), events=cls.events)


def _check_header(contract: type[Contract], service: str, paths: tuple[str, ...]) -> None:
    """Check what stands behind the name of the class."""
    name = contract.__name__
    if contract.__bases__ != (Contract,):
        raise TypeError(f"{name} is a contract and derives from another class; derive it from Contract alone")
    if not _SERVICE.fullmatch(service):
        raise TypeError(f"{name}: service={service!r} must be a lower-case word, as in the name of its package")
    if not isinstance(paths, tuple):
        raise TypeError(f'{name}: paths must be a tuple: paths=("/payment",)')
    for path in paths:
        if path != "/" and not _PATH.fullmatch(path):
            raise TypeError(f"{name} owns the path {path!r}; write it with a leading and without a trailing slash ('/payment')")


def _operations_of(contract: type[Contract]) -> dict[str, Operation]:
    """The operations of a contract by name, checked."""
    operations = {}
    for name, member in vars(contract).items():
        if name.startswith("_"):
            continue
        if hasattr(Contract, name):
            raise TypeError(f"{contract.__name__}.{name} would hide a member of every contract; name it otherwise")
        if callable(member) or isinstance(member, property | staticmethod | classmethod) or inspect.isclass(member):
            operations[name] = operation_of(contract.__name__, name, member)
    _check_codes(contract, operations)
    return operations


def _check_codes(contract: type[Contract], operations: dict[str, Operation]) -> None:
    """A code means one error throughout a contract."""
    known: dict[str, type[ContractError]] = {}
    for declared in operations.values():
        for error in declared.errors:
            other = known.setdefault(error.code, error)
            if other is not error:
                names = f"{error.__name__} and {other.__name__}"
                raise TypeError(f"{contract.__name__}: {names} share the code {error.code!r}; change one")


def _check_events(contract: type[Contract]) -> None:
    """A service announces events of its own, each type once."""
    if not isinstance(contract.events, tuple):
        raise TypeError(f"{contract.__name__}: events must be a tuple: events=(HoldPlaced,)")
    announced: tuple[object, ...] = contract.events
    seen: set[str] = set()
    for event in announced:
        if not (isinstance(event, type) and issubclass(event, Event)):
            raise TypeError(f"{contract.__name__}: {event!r} is not an Event; a task is the service's own affair")
        kind = event.message_type
        if not kind.startswith(f"{contract.service}."):
            raise TypeError(
                f"{event.__name__} has the type {kind!r}; events of {contract.service} start with '{contract.service}.'"
            )
        if kind in seen:
            raise TypeError(f"{contract.__name__} announces {kind!r} twice; list each event once, each with a type of its own")
        seen.add(kind)
