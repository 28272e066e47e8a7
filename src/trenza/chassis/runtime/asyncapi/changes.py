"""What a change of messages breaks: of those that are on their way already, and of those that an older process still reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trenza.chassis.runtime.asyncapi.schemas import Reading

__all__ = ["Changes", "NoDocument", "changes_between"]


class NoDocument(ValueError):
    """Not a document that `describe_messages` has made."""


@dataclass(frozen=True)
class Changes:
    """A line for each change that matters.

    ``breaking`` ones lose messages that wait in outboxes, brokers and inboxes, or what they hold. ``careful`` ones do so only
    while processes of the old release still run, for those read what new ones write: release the reader first, then the writer.
    """

    breaking: tuple[str, ...]
    careful: tuple[str, ...]


@dataclass(frozen=True)
class _Side:
    """What matters of a document."""

    document: Any
    data: dict[str, Any]
    keys: dict[str, str | None]
    sent: set[tuple[str, str]]
    """(service, type)"""
    handled: set[tuple[str, str, str]]
    """(service, consumer, type)"""

    @classmethod
    def of(cls, document: Any) -> _Side:
        try:
            messages = document["components"]["messages"]
            operations = document["operations"].values()
            return cls(
                document=document,
                data={name: each["payload"]["allOf"][1]["properties"]["data"] for name, each in messages.items()},
                keys={name: each["x-ordering-key"] for name, each in messages.items()},
                sent={(each["x-service"], type_) for each in operations if each["action"] == "send" for type_ in _types(each)},
                handled={
                    (each["x-service"], each["x-consumer"], type_)
                    for each in operations
                    if each["action"] == "receive"
                    for type_ in _types(each)
                },
            )
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise NoDocument("it is no document that `trenza asyncapi` has printed") from error


def _types(operation: dict[str, Any]) -> list[str]:
    return [reference["$ref"].rpartition("/")[2] for reference in operation["messages"]]


def changes_between(old: Any, new: Any) -> Changes:
    """Compare two documents. Raises `NoDocument`."""
    before, after = _Side.of(old), _Side.of(new)
    breaking = [*_envelope(before, after), *_gone(before, after), *_keys(before, after)]
    careful: list[str] = []
    for type_ in sorted(before.data.keys() & after.data.keys()):
        breaking += Reading(old, new, reader="new code", gone=True, may_lack=True).refusals(
            before.data[type_], after.data[type_], type_
        )
        careful += Reading(new, old, reader="old code", gone=False, may_lack=False).refusals(
            after.data[type_], before.data[type_], type_
        )
    said = {line.partition(":")[0] for line in breaking}
    return Changes(tuple(breaking), tuple(line for line in careful if line.partition(":")[0] not in said))


def _envelope(before: _Side, after: _Side) -> Iterator[str]:
    schema = {"$ref": "#/components/schemas/CloudEvent"}
    yield from Reading(before.document, after.document, reader="new code", gone=True, may_lack=True).refusals(
        schema, schema, "the envelope"
    )


def _gone(before: _Side, after: _Side) -> Iterator[str]:
    """Types that nobody sends or handles any more, and consumers to whom messages in an inbox are addressed."""
    gone = before.data.keys() - after.data.keys()
    for type_ in sorted(gone):
        yield f"{type_}: the type is gone"
    for service, type_ in sorted(before.sent - after.sent):
        if type_ not in gone:
            yield f"{type_}: {service} no longer sends it"
    for service, consumer, type_ in sorted(before.handled - after.handled):
        if type_ not in gone:
            yield f"{type_}: the consumer {consumer!r} of {service}, to whom its inbox addresses them, no longer takes it"


def _keys(before: _Side, after: _Side) -> Iterator[str]:
    for type_ in sorted(before.keys.keys() & after.keys.keys()):
        was, now = before.keys[type_], after.keys[type_]
        if was != now:
            yield f"{type_}: its ordering key was {was or 'none'} and is {now or 'none'}"
