"""The words of the internal call protocol, which client and route must agree on over releases."""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "BODY",
    "CORRELATION_ID",
    "DEADLINE",
    "LARGEST_BODY_BYTES",
    "MAX_BODY_BYTES",
    "OUTCOME",
    "PASSPORT_SCHEME",
    "TRACEPARENT",
    "Outcome",
    "TurnedAway",
    "call_path",
]

CORRELATION_ID = "x-correlation-id"
DEADLINE = "trenza-deadline-ms"
"""Milliseconds that the caller will still wait: remaining time, as the clocks of two machines differ."""
OUTCOME = "trenza-outcome"
PASSPORT_SCHEME = "Passport"
TRACEPARENT = "traceparent"
"""W3C Trace Context, level 1."""

BODY = "trenza-body"
"""Where the arguments or the result lie in the shared object store, when the body itself is empty for its size."""
MAX_BODY_BYTES = 16 * 1024 * 1024
"""The largest body of a request or an answer. What is larger travels as an object, whose key `BODY` names."""
LARGEST_BODY_BYTES = 256 * 1024 * 1024
"""The largest that travels so: caller and callee hold it in memory. Bulk belongs into objects of the services' own."""


class Outcome(StrEnum):
    """How a call ended, in a header of its own: the status alone may come from any proxy between the two."""

    RESULT = "result"
    REFUSED = "refused"
    """A `ContractError` that the operation declares; the body is its problem document."""
    BROKE = "broke"
    TIMED_OUT = "timed-out"
    NOT_RUN = "not-run"
    """The implementation was never reached; the problem's detail says why."""


class TurnedAway(Exception):
    """A call that the route does not let through to the implementation. ``status`` is the HTTP status that says so."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def call_path(service: str, operation: str) -> str:
    """Where an operation is called."""
    return f"/_call/{service}/{operation}"
