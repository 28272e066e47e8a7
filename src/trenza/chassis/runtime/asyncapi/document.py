"""The AsyncAPI 3.0 document of a deployment: what its services announce, react to and give themselves to do."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue, TypeAdapter

from trenza.chassis.contract import Event, Message, Task
from trenza.chassis.messages.envelope import SOURCE_PREFIX
from trenza.chassis.runtime.asyncapi.envelope import ENVELOPE_SCHEMA
from trenza.chassis.runtime.asyncapi.schemas import as_draft_7

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from trenza.chassis.messages.definitions import Handler
    from trenza.chassis.service import Service

__all__ = ["describe_messages"]

_CONTENT_TYPE = "application/cloudevents+json"
_ENVELOPE = "CloudEvent"
_ABOUT = """\
Every message is a CloudEvent in JSON. Events travel over the transport of the deployment, which names its own queues and topics;
they arrive at least once and take effect once. Tasks are messages of a service to itself and never leave its database. Messages
with the same `orderingkey` are handled in the order in which they were committed."""


def describe_messages(services: Iterable[Service], *, title: str) -> dict[str, JsonValue]:
    """The document, as JSON in a stable order: services that are equal give equal documents.

    The events of a service are those that its contract lists; where nobody of these services announces an event, those who react
    to it say what it holds. Extensions: ``x-ordering-key`` names the field of a message's data by which it is ordered;
    ``x-service``, ``x-consumer`` and ``x-schedule`` say who sends or receives.
    """
    services = sorted(services, key=lambda service: service.name)
    messages = _messages_of(services)
    schemas, data = _schemas_of(messages.values())
    channels: dict[str, Any] = {}
    for name, message in messages.items():
        channel = channels.setdefault(_channel_of(message), _channel(message))
        channel["messages"][name] = {"$ref": f"#/components/messages/{name}"}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version("trenza"), "description": " ".join(_ABOUT.split())},
        "defaultContentType": _CONTENT_TYPE,
        "channels": {name: channels[name] for name in sorted(channels)},
        "operations": dict(each for service in services for each in _operations_of(service)),
        "components": {
            "messages": {name: _message(message, data[name]) for name, message in messages.items()},
            "schemas": {_ENVELOPE: ENVELOPE_SCHEMA, **schemas},
            "correlationIds": {
                "correlationid": {
                    "description": "The request that all of this follows from.",
                    "location": "$message.payload#/correlationid",
                }
            },
        },
    }


def _messages_of(services: Iterable[Service]) -> dict[str, type[Message]]:
    """Every message by its type. What the service that announces it says of an event counts more than what a reader expects."""
    handled = {handler.message.message_type: handler.message for service in services for handler in service.handlers}
    announced: dict[str, type[Message]] = {e.message_type: e for service in services for e in service.contract.events}
    return dict(sorted({**handled, **announced}.items()))


def _schemas_of(messages: Iterable[type[Message]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schemas of all values, and by message type that of its data. As they are written: that is what travels."""
    inputs = [(message.message_type, "serialization", TypeAdapter(message)) for message in messages]
    by_input, shared = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]  # a list of tuples with a literal, which mypy widens
    data = {name: as_draft_7(schema) for (name, _mode), schema in by_input.items()}
    return {name: as_draft_7(schema) for name, schema in sorted(shared.get("$defs", {}).items())}, data


def _channel_of(message: type[Message]) -> str:
    kind = "tasks" if issubclass(message, Task) else "events"
    return f"{_publisher_of(message)}.{kind}"


def _publisher_of(message: type[Message]) -> str:
    return message.message_type.partition(".")[0]


def _channel(message: type[Message]) -> dict[str, Any]:
    publisher = _publisher_of(message)
    if issubclass(message, Task):
        return {
            "address": None,
            "title": f"The tasks of {publisher}",
            "description": f"What {publisher} gives itself to do: rows of its own inbox, which no transport carries.",
            "messages": {},
        }
    return {
        "address": None,
        "title": f"The events of {publisher}",
        "description": f"What {publisher} announces. Who reacts to a type gets it, by whichever transport the deployment has.",
        "messages": {},
    }


def _message(message: type[Message], data: dict[str, Any]) -> dict[str, Any]:
    summary, _, rest = (message.__doc__ or "").strip().partition("\n")
    described = {"description": " ".join(rest.split())} if rest.strip() else {}
    return {
        "name": message.message_type,
        "title": message.__name__,
        "summary": summary,
        **described,
        "contentType": _CONTENT_TYPE,
        "correlationId": {"$ref": "#/components/correlationIds/correlationid"},
        "payload": {
            "allOf": [
                {"$ref": f"#/components/schemas/{_ENVELOPE}"},
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": message.message_type},
                        "source": {"const": f"{SOURCE_PREFIX}{_publisher_of(message)}"},
                        "data": data,
                    },
                },
            ]
        },
        "x-ordering-key": message.ordering_field,
    }


def _operations_of(service: Service) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a service sends and receives, by the name of the operation."""
    tasks = [handler.message for handler in service.handlers if issubclass(handler.message, Task)]
    events = sorted(service.contract.events, key=lambda event: event.message_type)
    sending: list[tuple[str, Sequence[type[Message]]]] = [
        ("announces", events),
        ("enqueues", sorted(tasks, key=lambda task: task.message_type)),
    ]
    for verb, sent in sending:
        for channel in sorted({_channel_of(message) for message in sent}):
            several = [message for message in sent if _channel_of(message) == channel]
            name = f"{service.name}.{verb}" if channel.startswith(f"{service.name}.") else f"{service.name}.{verb}.{channel}"
            yield name, _operation(service, "send", several, f"{service.name} {verb}")
    for handler in sorted(service.handlers, key=lambda handler: (handler.consumer, handler.message.message_type)):
        yield f"{service.name}.{handler.consumer}.{handler.message.message_type}", _receiving(service, handler)
    for schedule in sorted(service.schedules, key=lambda schedule: schedule.name):
        when = {"cron": schedule.cron, "timezone": schedule.timezone, "task": schedule.task.model_dump(mode="json")}
        operation = _operation(service, "send", [type(schedule.task)], f"The schedule {schedule.name} of {service.name}")
        yield f"{service.name}.schedule.{schedule.name}", {**operation, "x-schedule": when}


def _receiving(service: Service, handler: Handler) -> dict[str, Any]:
    verb = "reacts to" if issubclass(handler.message, Event) else "handles"
    return {
        **_operation(service, "receive", [handler.message], f"{service.name} {verb} {handler.message.__name__}"),
        "x-consumer": handler.consumer,
        "x-attempts": handler.attempts,
        "x-timeout-seconds": handler.timeout,
    }


def _operation(service: Service, action: str, messages: Sequence[type[Message]], title: str) -> dict[str, Any]:
    channel = f"#/channels/{_channel_of(messages[0])}"
    return {
        "action": action,
        "title": title,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{message.message_type}"} for message in messages],
        "tags": [{"name": service.name}],
        "x-service": service.name,
    }
