"""The two ways in which a call ends without a result: a refusal that is part of the contract, and a failure."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pydantic import JsonValue

__all__ = ["PROBLEM_MEMBERS", "CallFailed", "ContractError"]

PROBLEM_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "code", "correlation_id"})
"""Members that every problem document has (RFC 9457 and ours); an error's own fields cannot take these names."""

_REFUSALS = range(400, 600)


class ContractError(Exception):
    """A refusal that callers are told about and may handle: it keeps its type across the wire.

    Subclasses set ``status`` (the HTTP status of the problem document) and may set ``code``; without one the code is the class
    name in upper snake case (``CardDeclined``: ``CARD_DECLINED``). ``fields`` must be JSON values; they appear as members of the
    problem document (for example ``field``, ``limit`` and ``remedy``). What an error carries belongs into ``fields``: the wire
    rebuilds it from those and ``detail``.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "CONTRACT_ERROR"
    title: ClassVar[str] = "Request refused"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", cls.__name__)
        if "code" not in cls.__dict__:
            cls.code = words.replace(" ", "_").upper()
        if "title" not in cls.__dict__:
            cls.title = words.capitalize()
        if cls.status not in _REFUSALS:
            raise TypeError(f"{cls.__name__}.status is {cls.status}; a refusal has an HTTP status from 400 to 599")

    def __init__(self, detail: str = "", /, **fields: JsonValue) -> None:
        for name, value in fields.items():
            if name in PROBLEM_MEMBERS:
                raise TypeError(f"{type(self).__name__}: the field {name!r} is a member of every problem; name it otherwise")
            _require_json(f"{type(self).__name__}: the field {name!r}", value)
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.fields: dict[str, JsonValue] = fields


class CallFailed(Exception):
    """A call to another service ended without its answer: it was unreachable, too slow, or broke.

    The callee **may or may not have run**. Repeat only what is idempotent. ``ran`` is ``False`` where the caller knows that the
    callee never started (an open breaker, a refused connection); otherwise it is ``None``.
    """

    status: ClassVar[int] = 502

    def __init__(self, service: str, operation_name: str, reason: str, *, ran: bool | None = None) -> None:
        super().__init__(f"{service}.{operation_name}: {reason}")
        self.service = service
        self.operation_name = operation_name
        self.reason = reason
        self.ran = ran


def _require_json(where: str, value: object) -> None:
    """Raise unless the value is the same after a journey as JSON. Tuples are not: they would arrive as lists."""
    if isinstance(value, list):
        for item in value:
            _require_json(where, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}; keys of JSON objects are strings")
            _require_json(where, item)
    elif value is not None and not isinstance(value, str | int | float):
        raise TypeError(f"{where} is a {type(value).__name__}; give it as a JSON value (a str, a number, a list, a dict)")
