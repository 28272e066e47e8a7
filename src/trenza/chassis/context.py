"""The ambient context of a piece of work: who asks, until when, and under which correlation id."""

from __future__ import annotations

import asyncio
import re
import secrets
import uuid
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal

from trenza.chassis.contract import Value

__all__ = [
    "ANONYMOUS",
    "Context",
    "Principal",
    "active_context",
    "current_context",
    "new_correlation_id",
    "use_context",
    "valid_correlation_id",
]

_CORRELATION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Principal(Value):
    """Who is asking. ``scopes`` are permissions such as ``photos:editor``."""

    subject: str
    kind: Literal["anonymous", "operator", "user", "service"] = "user"
    scopes: tuple[str, ...] = ()


ANONYMOUS = Principal(subject="anonymous", kind="anonymous")


@dataclass(frozen=True, slots=True)
class Context:
    """What travels with every request, call, message and task.

    ``deadline`` is in seconds of the event loop's clock. ``service`` names the service whose operation runs; None at the edge.
    """

    correlation_id: str
    principal: Principal = ANONYMOUS
    deadline: float | None = None
    traceparent: str | None = None
    service: str | None = None

    def remaining(self) -> float | None:
        """Seconds left until the deadline (negative when it has passed), or None without one."""
        return None if self.deadline is None else self.deadline - asyncio.get_running_loop().time()

    def with_deadline_in(self, seconds: float) -> Context:
        """This context with its deadline at most so many seconds away: a deadline never moves outwards."""
        deadline = asyncio.get_running_loop().time() + seconds
        if self.deadline is not None and self.deadline <= deadline:
            return self
        return replace(self, deadline=deadline)


_context: ContextVar[Context | None] = ContextVar("trenza_context", default=None)


def active_context() -> Context | None:
    """The context of the running piece of work, or None outside of any (where logs have nothing to tell of it)."""
    return _context.get()


def current_context() -> Context:
    """The context of the running piece of work; a fresh anonymous one outside of any."""
    return _context.get() or Context(correlation_id=new_correlation_id())


class _Scope:
    """The block of a ``with use_context(…)``. A class, as a generator would cost a local call twice as much."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> Context:
        self._token = _context.set(self._context)
        return self._context

    def __exit__(self, *_: object) -> None:
        _context.reset(self._token)


def use_context(context: Context) -> AbstractContextManager[Context, None]:
    """Run a block under a context."""
    return _Scope(context)


def new_correlation_id() -> str:
    """A fresh correlation id: a random UUID's 32 hexadecimal digits."""
    return uuid.UUID(bytes=secrets.token_bytes(16), version=4).hex


def valid_correlation_id(candidate: str | None) -> str | None:
    """The candidate when it is 1 to 128 of letters, digits and ``. _ : -``; None otherwise, so that logs cannot be forged."""
    return candidate if candidate and _CORRELATION_ID.fullmatch(candidate) else None
