"""Messages that say of themselves something else than they were sent as: a broker grants rights to the latter only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from trenza.chassis.telemetry.printable import printable

__all__ = ["as_sent", "envelope_in", "refused"]

_SHOWN = 100
"""Characters of a type that is told."""


def as_sent(body: bytes, *, fits: Callable[[str], bool], sent_as: str) -> bytes:
    """The body, or what stands for it where its type does not fit how it was ``sent_as``: that becomes a dead letter.

    What is no envelope stays as it is, for the inbox to judge.
    """
    type_ = envelope_in(body).get("type")
    if not isinstance(type_, str) or fits(type_):
        return body
    return refused(body, f"it was sent as {sent_as}, and says that it is {printable(type_, most=_SHOWN)}")


def refused(body: str | bytes, why: str) -> bytes:
    """What makes a dead letter of a body, with this reason (see `Envelope.from_json`)."""
    text = body if isinstance(body, str) else body.decode(errors="replace")
    return orjson.dumps({"refused": why, "body": text})


def envelope_in(body: str | bytes) -> dict[str, Any]:
    """The attributes of a body, and none of what is no envelope."""
    try:
        envelope = orjson.loads(body)
    except ValueError:
        return {}
    return envelope if isinstance(envelope, dict) else {}
