"""The envelope that every message travels in: a CloudEvents 1.0 event in JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, cast, get_args
from uuid import UUID

import orjson
from pydantic import ValidationError

from trenza.chassis.context import ANONYMOUS, Context, Principal, new_correlation_id, valid_correlation_id

if TYPE_CHECKING:
    from trenza.chassis.contract.messages import Message

    MessageType = type[Message]  # `Envelope.type` hides the builtin inside the class

__all__ = ["MAXIMUM_ENVELOPE_BYTES", "Envelope", "MessageTooLarge", "Unreadable"]

MAXIMUM_ENVELOPE_BYTES = 4 * 1024 * 1024
"""What an inbox stores. What a broker does not carry travels as an object (see `transports.claim_checks`)."""

MAXIMUM_KEY_BYTES = 1024
"""Of an ordering key and of a message's type, as UTF-8: both stand in indexes, and PostgreSQL's take 2,704 bytes a row."""

_MISFITS = 10
"""Fields that are named where data do not fit."""

SOURCE_PREFIX = "trenza/"
PrincipalKind = Literal["anonymous", "operator", "user", "service"]


class MessageTooLarge(ValueError):
    """A message that no inbox should hold: put the bulk into an object and send its key. Or its ordering key is no key."""


class Unreadable(ValueError):
    """Bytes that are no envelope of ours, or an envelope whose data do not fit the message type."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message with its attributes. Times are aware, in UTC; ``data`` is the message as JSON text.

    Attributes beyond those of CloudEvents keep to its naming rule (lower-case letters and digits) and hold strings only. The
    principal is the one that caused the message; who handles the message acts for it.
    """

    id: UUID
    source: str
    """Who sent it: `SOURCE_PREFIX` and the name of a service, or whatever a stranger calls itself."""
    type: str
    time: datetime
    data: bytes
    ordering_key: str | None = None
    deliver_by: datetime | None = None
    correlation_id: str = ""
    traceparent: str | None = None
    principal: Principal = ANONYMOUS

    @classmethod
    def wrap(
        cls, message: Message, *, message_id: UUID, service: str, time: datetime, deliver_by: datetime | None, context: Context
    ) -> Envelope:
        """The envelope of a message that is sent now, in the given context. Raises `MessageTooLarge` for its ordering key."""
        if (key := message.ordering_key) is not None and _unfit(key):
            raise MessageTooLarge(
                f"the ordering key of {message.message_type} is longer than {MAXIMUM_KEY_BYTES} bytes or holds NUL: "
                "order by an identifier"
            )
        return cls(
            id=message_id,
            source=SOURCE_PREFIX + service,
            type=message.message_type,
            time=time,
            data=message.model_dump_json().encode(),
            ordering_key=key,
            deliver_by=deliver_by,
            correlation_id=context.correlation_id,
            traceparent=context.traceparent,
            principal=context.principal,
        )

    def to_json(self) -> str:
        """CloudEvents JSON. Raises `MessageTooLarge`."""
        attributes: dict[str, Any] = {
            "specversion": "1.0",
            "id": str(self.id),
            "source": self.source,
            "type": self.type,
            "time": self.time.isoformat(),
            "subject": self.ordering_key,
            "datacontenttype": "application/json",
            "orderingkey": self.ordering_key,
            "deliverby": None if self.deliver_by is None else self.deliver_by.isoformat(),
            "correlationid": self.correlation_id,
            "traceparent": self.traceparent,
            "principal": self.principal.subject,
            "principalkind": self.principal.kind,
            "principalscopes": " ".join(self.principal.scopes) or None,
        }
        present: dict[str, Any] = {name: value for name, value in attributes.items() if value is not None}
        present["data"] = orjson.Fragment(self.data)
        body = orjson.dumps(present)
        if len(body) > MAXIMUM_ENVELOPE_BYTES:
            raise MessageTooLarge(
                f"{self.type} takes {len(body)} bytes as an envelope; the limit is {MAXIMUM_ENVELOPE_BYTES}: "
                "put the bulk into an object and send its key"
            )
        return body.decode()

    @classmethod
    def from_json(cls, body: str | bytes) -> Envelope:
        """Read CloudEvents JSON. Attributes that we do not know are ignored. Raises `Unreadable`."""
        try:
            event = orjson.loads(body)
        except ValueError as error:
            raise Unreadable(f"the body is no JSON: {error}") from error
        if not isinstance(event, dict):
            raise Unreadable("the body is not a JSON object")
        if isinstance(event.get("refused"), str):  # by the transport
            raise Unreadable(event["refused"])
        if event.get("dataref") is not None and "data" not in event:
            raise Unreadable("the object that holds its data is gone")
        for name in ("type", "orderingkey"):
            if _unfit(_optional_text(event, name) or ""):
                raise Unreadable(f"the attribute {name!r} is longer than {MAXIMUM_KEY_BYTES} bytes or holds NUL")
        try:
            return cls(
                id=_id(event),
                source=_text(event, "source"),
                type=_text(event, "type"),
                time=_moment(event, "time"),
                data=orjson.dumps(event.get("data")),
                ordering_key=_optional_text(event, "orderingkey"),
                deliver_by=None if event.get("deliverby") is None else _moment(event, "deliverby"),
                correlation_id=valid_correlation_id(_optional_text(event, "correlationid")) or new_correlation_id(),
                traceparent=_optional_text(event, "traceparent"),
                principal=_principal(event),
            )
        except KeyError as error:
            raise Unreadable(f"the attribute {error.args[0]!r} is missing") from error
        except Unreadable:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            raise Unreadable(f"{type(error).__name__}: {error}") from error

    def read(self, message: MessageType) -> Message:
        """The message inside. Raises `Unreadable` when the data do not fit its type."""
        try:
            return message.model_validate_json(self.data)
        except ValidationError as error:
            raise Unreadable(f"the data do not fit {message.message_type}: {_misfits(error)}") from error

    def context(self) -> Context:
        """The context that whoever handles the message works under, without a deadline."""
        return Context(correlation_id=self.correlation_id, principal=self.principal, traceparent=self.traceparent)


def _unfit(key: str) -> bool:
    """Whether no index would take it."""
    return "\0" in key or len(key.encode(errors="replace")) > MAXIMUM_KEY_BYTES


def _misfits(error: ValidationError) -> str:
    """Which fields do not fit and why, in one line. What they hold stands in the envelope."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    said = [f"{'.'.join(map(str, each['loc'])) or 'data'}: {each['msg']}" for each in found[:_MISFITS]]
    return "; ".join(said) + (f"; and {len(found) - _MISFITS} more" if len(found) > _MISFITS else "")


def _id(event: dict[str, Any]) -> UUID:
    try:
        return UUID(_text(event, "id"))
    except ValueError:
        raise Unreadable("the attribute 'id' is no UUID") from None


def _moment(event: dict[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(event, name))
    except ValueError:
        raise Unreadable(f"the attribute {name!r} is no moment such as 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        raise Unreadable(f"the attribute {name!r} has no offset: write 2026-01-31T12:00:00Z")
    return moment


def _text(event: dict[str, Any], name: str) -> str:
    value = event[name]
    if not isinstance(value, str) or not value:
        raise Unreadable(f"the attribute {name!r} is not a text")
    return value


def _optional_text(event: dict[str, Any], name: str) -> str | None:
    return None if event.get(name) is None else _text(event, name)


def _principal(event: dict[str, Any]) -> Principal:
    subject, kind = _optional_text(event, "principal"), event.get("principalkind")
    if subject is None or kind not in get_args(PrincipalKind):
        return ANONYMOUS
    scopes = _optional_text(event, "principalscopes")
    return Principal(subject=subject, kind=cast("PrincipalKind", kind), scopes=tuple((scopes or "").split()))
