"""The JSON Schema of the envelope that every message travels in (see ``messages/envelope.py``)."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["ENVELOPE_SCHEMA"]


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


ENVELOPE_SCHEMA: Final[dict[str, Any]] = {
    "title": "CloudEvent",
    "description": "A CloudEvent 1.0 in JSON, with the extension attributes of Trenza. Unknown attributes are ignored.",
    "type": "object",
    "required": ["specversion", "id", "source", "type", "time"],
    "properties": {
        "specversion": {"type": "string", "const": "1.0"},
        "id": _text("The same at every delivery of one message.", format="uuid"),
        "source": _text("`trenza/` and the service that sent it."),
        "type": _text("The service that owns the type, a dot, and its name."),
        "time": _text("When it was written.", format="date-time"),
        "datacontenttype": _text("How `data` is written: as JSON."),
        "data": {"description": "The message itself."},
        "dataref": _text(
            "Instead of `data`, for what is too large for the transport: the key of an object that holds the whole."
        ),
        "subject": _text("The ordering key, for those who know CloudEvents only."),
        "orderingkey": _text("Messages of one type family with the same key are handled in their order."),
        "deliverby": _text("Whoever gets it later than this shall not handle it.", format="date-time"),
        "correlationid": _text("The request that all of this follows from."),
        "traceparent": _text("The trace that it belongs to, as in W3C Trace Context."),
        "principal": _text("Who caused it; who handles it acts for them."),
        "principalkind": _text("anonymous, operator, user or service."),
        "principalscopes": _text("What the principal may do, separated by spaces."),
    },
}
