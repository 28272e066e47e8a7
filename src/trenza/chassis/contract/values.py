"""The frozen values that cross service boundaries, and the check that they are frozen all the way down."""

from __future__ import annotations

import dataclasses
from collections import abc
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict

__all__ = ["DEFINE_ABOVE", "WIRE_CONFIG", "Value", "refuse_mutable"]

WIRE_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")
"""What makes a value equal to itself after a journey as JSON; pydantic's defaults lose infinities and bytes beyond UTF-8."""

_CONTAINERS = (abc.MutableSequence, abc.MutableMapping, abc.MutableSet, bytearray)
_FACTORIES = (list, dict, set, bytearray)
_OPEN = (abc.Sequence, abc.Collection, abc.Iterable, abc.Iterator, abc.Mapping, abc.Set, abc.Container, abc.Reversible)
"""Types under which a mutable container may hide. Compared by identity: str and tuple are sequences, too."""
_UNNAMED: tuple[object, ...] = (Any, object, tuple, frozenset)
"""Annotations that say nothing about what is inside, so that neither this check nor a wire could know."""
DEFINE_ABOVE = "define or import it above, outside `if TYPE_CHECKING`"


class Value(BaseModel):
    """A frozen value that may cross a service boundary.

    Fields hold immutable types only (tuples, not lists), so that a local call can pass it by reference; they survive a journey
    as JSON unchanged. Unknown fields are ignored on the way in: a newer peer may send more than this side knows.
    """

    model_config = ConfigDict(**WIRE_CONFIG, extra="ignore", frozen=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not cls.model_config.get("frozen"):
            raise TypeError(f"{cls.__name__} switches frozen off; a Value is shared by reference: leave it frozen")
        for name, field in cls.__pydantic_fields__.items():
            if not field._complete:  # noqa: SLF001 - pydantic tells in no other way which annotation it could not resolve
                unknown = getattr(field.annotation, "__forward_arg__", field.annotation)
                raise TypeError(f"{cls.__name__}.{name}: {unknown} is unknown; {DEFINE_ABOVE}")
            refuse_mutable(f"{cls.__name__}.{name}", field.annotation)
            if field.default_factory in _FACTORIES or type(field.default).__hash__ is None:
                raise TypeError(f"{cls.__name__}.{name} has a mutable default; a Value holds immutable types only (use a tuple)")


def refuse_mutable(where: str, annotation: object) -> None:
    """Raise a `TypeError` that says what to do when an annotation admits anything that could change after it was sent."""
    origin = get_origin(annotation)
    if origin is Literal:
        return
    if hidden := getattr(annotation, "__value__", None) or getattr(annotation, "__supertype__", None):  # an alias, a NewType
        refuse_mutable(where, hidden)
    elif origin is None and annotation in _UNNAMED:
        name = getattr(annotation, "__name__", str(annotation))
        raise TypeError(f"{where} is annotated {name}, which does not say what is inside; name the types (tuple[str, ...])")
    else:
        _refuse_class(where, origin or annotation)
        inside = get_args(annotation)[:1] if origin is Annotated else get_args(annotation)
        for part in inside:
            if part is not Ellipsis and not isinstance(part, TypeVar):
                refuse_mutable(where, part)


def _refuse_class(where: str, candidate: object) -> None:
    """Raise for a class whose instances can change or that hides what it is."""
    if not isinstance(candidate, type):
        return
    if issubclass(candidate, _CONTAINERS) or candidate in _OPEN:
        remedy = "use a Value, or a tuple of pairs" if issubclass(candidate, abc.Mapping) else "use a tuple"
        raise TypeError(f"{where} holds a {candidate.__name__}; only immutable types may cross a service boundary ({remedy})")
    if issubclass(candidate, BaseModel) and not issubclass(candidate, Value):
        raise TypeError(f"{where} holds {candidate.__name__}, a pydantic model; derive it from Value, which is frozen")
    parameters = getattr(candidate, "__dataclass_params__", None)
    if parameters is not None and not parameters.frozen:
        raise TypeError(f"{where} holds {candidate.__name__}, a mutable dataclass; declare it @dataclass(frozen=True)")
    if dataclasses.is_dataclass(candidate):
        for field in dataclasses.fields(candidate):
            if not isinstance(field.type, str):
                refuse_mutable(f"{where}: {candidate.__name__}.{field.name}", field.type)
