"""The AsyncAPI document says what services send and handle, and a change that loses messages is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from types import new_class
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
import pytest
from pydantic import Field

from trenza.chassis.context import ANONYMOUS, Context
from trenza.chassis.contract import Contract, Event, Task, Value
from trenza.chassis.messages.definitions import Delivery, Handler, Schedule, handles, reacts
from trenza.chassis.messages.envelope import Envelope
from trenza.chassis.runtime.asyncapi import Changes, changes_between, describe_messages
from trenza.chassis.service import Service


class Leaf(Value):
    colour: Literal["green", "red"]
    width: int = 3
    leaves: tuple[Leaf, ...] = ()


class Flower(Value):
    kind: Literal["flower"]
    discriminator: str = ""


class Fruit(Value):
    kind: Literal["fruit"]


class Grown(Event, type="trees.Grown", key="tree"):
    """A tree has grown.

    By a year.
    """

    tree: UUID
    metres: float
    leaf: Leaf | None = None
    place: tuple[int, str] = (0, "")
    bears: Annotated[Flower | Fruit, Field(discriminator="kind")] | None = None


class Water(Task, type="trees.Water"):
    """Water all trees."""


class Prune(Task, type="trees.Prune", key="tree"):
    tree: UUID


class Felled(Event, type="sawmill.Felled"):
    tree: UUID


class Unused(Event, type="trees.Unused"):
    why: str = ""


def handler(message: type[Task | Event], consumer: str) -> Handler:
    declare = handles(message, consumer=consumer) if issubclass(message, Task) else reacts(message, consumer=consumer)

    @declare
    async def handle(_trees: Any, _message: Any, _delivery: Delivery) -> None: ...

    return handle


def service(
    name: str, *, events: tuple[type[Event], ...] = (), handlers: tuple[Handler, ...] = (), schedules: tuple[Schedule, ...] = ()
) -> Service:
    contract = type(name.capitalize(), (Contract,), {"__module__": __name__}, service=name, events=events)
    return Service(contract=contract, implementation=lambda _resources: contract(), handlers=handlers, schedules=schedules)


def document(*services: Service) -> Any:
    return describe_messages(services, title="Trees")


TREES = service(
    "trees",
    events=(Grown, Unused),
    handlers=(handler(Water, "water"), handler(Prune, "prune"), handler(Felled, "plant")),
    schedules=(Schedule("evenings", cron="0 19 * * *", timezone="Europe/Madrid", task=Water()),),
)
GARDEN = service("garden", handlers=(handler(Grown, "measure"),))


def resolve(found: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [each for value in part.values() for each in references(value)]
    return [each for value in part for each in references(value)] if isinstance(part, list) else []


def test_the_document_says_who_sends_and_who_handles_what() -> None:
    found = document(TREES, GARDEN)
    assert found["asyncapi"] == "3.0.0"
    assert sorted(found["info"]) == ["description", "title", "version"]
    assert sorted(found["channels"]) == ["sawmill.events", "trees.events", "trees.tasks"]
    assert {name: operation["action"] for name, operation in found["operations"].items()} == {
        "garden.measure.trees.Grown": "receive",
        "trees.announces": "send",
        "trees.enqueues": "send",
        "trees.plant.sawmill.Felled": "receive",
        "trees.prune.trees.Prune": "receive",
        "trees.water.trees.Water": "receive",
        "trees.schedule.evenings": "send",
    }
    assert found["operations"]["trees.schedule.evenings"]["x-schedule"] == {
        "cron": "0 19 * * *",
        "timezone": "Europe/Madrid",
        "task": {},
    }
    message = found["components"]["messages"]["trees.Grown"]
    assert (message["summary"], message["description"], message["x-ordering-key"]) == ("A tree has grown.", "By a year.", "tree")


def test_every_reference_leads_somewhere_and_every_operation_to_messages_of_its_channel() -> None:
    found = document(TREES, GARDEN)
    for reference in references(found):
        assert resolve(found, reference) is not None
    for operation in found["operations"].values():
        channel = operation["channel"]["$ref"]
        assert operation["messages"]
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])
        assert set(operation) >= {"action", "title", "tags", "x-service"}
    for channel in found["channels"].values():
        assert set(channel) == {"address", "title", "description", "messages"}
        assert channel["messages"]


def test_the_data_are_described_in_the_words_of_draft_7() -> None:
    found = document(TREES)
    grown = found["components"]["schemas"]["Grown"]["properties"]
    assert grown["place"]["items"] == [{"type": "integer"}, {"type": "string"}]
    assert grown["tree"]["format"] == "uuid"
    assert [sorted(each) for each in grown["bears"]["anyOf"]] == [["oneOf"], ["type"]]
    assert "discriminator" in found["components"]["schemas"]["Flower"]["properties"]


def test_objects_have_the_members_that_the_specification_knows() -> None:
    """By hand from the JSON Schema of AsyncAPI 3.0.0, which admits no others but extensions (``x-…``)."""
    found = document(TREES, GARDEN)

    def members(part: dict[str, Any]) -> set[str]:
        return {name for name in part if not name.startswith("x-")}

    assert members(found) == {"asyncapi", "info", "defaultContentType", "channels", "operations", "components"}
    assert members(found["components"]) == {"messages", "schemas", "correlationIds"}
    for operation in found["operations"].values():
        assert members(operation) == {"action", "title", "channel", "messages", "tags"}
    for message in found["components"]["messages"].values():
        assert members(message) <= {"name", "title", "summary", "description", "contentType", "correlationId", "payload"}
    for name in [*found["components"]["messages"], *found["components"]["schemas"]]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)


def test_the_envelope_is_as_described() -> None:
    schema = document(TREES)["components"]["schemas"]["CloudEvent"]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    context = Context(
        correlation_id="c", principal=ANONYMOUS, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    )
    grown = Grown(tree=UUID(int=1), metres=2)
    envelope = Envelope.wrap(grown, message_id=UUID(int=2), service="trees", time=now, deliver_by=now, context=context)
    written = orjson.loads(envelope.to_json())
    assert set(schema["required"]) <= set(written)
    assert set(written) <= set(schema["properties"])


def test_what_the_publisher_says_of_an_event_counts() -> None:
    class Short(Event, type="trees.Grown"):
        metres: float

    reader = service("garden", handlers=(handler(Short, "measure"),))
    assert document(TREES, reader)["components"]["messages"]["trees.Grown"]["title"] == "Grown"
    assert document(reader)["components"]["messages"]["trees.Grown"]["title"] == "Short"


# ── What breaks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def event(**fields: Any) -> type[Event]:
    """The event trees.Grown with these fields: annotations, or pairs of an annotation and a default."""
    annotations = {name: field[0] if isinstance(field, tuple) else field for name, field in fields.items()}
    defaults = {name: field[1] for name, field in fields.items() if isinstance(field, tuple)}
    namespace = {"__module__": __name__, "__annotations__": annotations, **defaults}
    made: type[Event] = new_class("Grown", (Event,), {"type": "trees.Grown"}, lambda body: body.update(namespace))
    return made


def changes(old: dict[str, Any], new: dict[str, Any]) -> Changes:
    before, after = (document(service("trees", events=(event(**fields),))) for fields in (old, new))
    return changes_between(before, after)


class Slim(Value):
    colour: Literal["green", "red"]


class Dry(Value):
    colour: Literal["green"]
    width: int = 3


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ({"a": int, "b": int}, {"a": int}, "trees.Grown.b: it is gone"),
        ({"a": int}, {"a": int, "b": int}, "trees.Grown.b: new code requires it, and it was never written"),
        ({"a": (int, 1)}, {"a": int}, "trees.Grown.a: new code requires it, and it may be missing"),
        ({"a": str}, {"a": int}, "trees.Grown.a: new code does not take string"),
        ({"a": int | None}, {"a": int}, "trees.Grown.a: new code does not take null"),
        ({"a": float}, {"a": int}, "trees.Grown.a: new code does not take number"),
        ({"a": str}, {"a": UUID}, "trees.Grown.a: new code wants format uuid"),
        ({"a": datetime}, {"a": date}, "trees.Grown.a: new code wants format date instead of date-time"),
        ({"a": Literal["x", "y"]}, {"a": Literal["x"]}, "trees.Grown.a: new code does not take 'y'"),
        ({"a": str}, {"a": Literal["x"]}, "trees.Grown.a: new code takes 'x' only"),
        ({"a": Literal["x", 1]}, {"a": Literal["x", True]}, "trees.Grown.a: new code does not take 1"),
        ({"a": str}, {"a": Annotated[str, Field(max_length=3)]}, "trees.Grown.a: new code wants maxLength 3"),
        (
            {"a": Annotated[int, Field(ge=1)]},
            {"a": Annotated[int, Field(ge=2)]},
            "trees.Grown.a: new code wants minimum 2 instead of 1",
        ),
        ({"a": str}, {"a": Annotated[str, Field(pattern="^x")]}, "trees.Grown.a: new code wants pattern ^x"),
        ({"a": tuple[str, ...]}, {"a": tuple[int, ...]}, "trees.Grown.a[]: new code does not take string"),
        ({"a": tuple[int, str]}, {"a": tuple[int, int]}, "trees.Grown.a[1]: new code does not take string"),
        ({"a": tuple[int, str]}, {"a": tuple[int]}, "trees.Grown.a: new code wants maxItems 1 instead of 2"),
        ({"a": str}, {"a": tuple[str, ...]}, "trees.Grown.a: new code does not take string"),
        ({"a": Leaf}, {"a": Slim}, "trees.Grown.a.width: it is gone"),
        ({"a": Leaf | None}, {"a": Dry | None}, "trees.Grown.a.colour: new code does not take 'red'"),
        ({"a": Leaf | int}, {"a": int}, "trees.Grown.a: new code does not take object"),
        ({"a": Decimal}, {"a": bool}, "trees.Grown.a: new code does not take string"),
    ],
)
def test_what_breaks_is_told_in_a_line(old: dict[str, Any], new: dict[str, Any], line: str) -> None:
    assert line in changes(old, new).breaking


@pytest.mark.parametrize(
    ("old", "new", "careful"),
    [
        ({"a": int}, {"a": int, "b": (int, 1)}, ()),
        ({"a": int}, {"a": (int, 1)}, ()),
        ({"a": Leaf}, {"a": Leaf}, ()),
        ({"a": Slim}, {"a": Leaf}, ()),
        ({"a": int}, {"a": float}, ("trees.Grown.a: old code does not take number",)),
        ({"a": int}, {"a": int | None}, ("trees.Grown.a: old code does not take null",)),
        ({"a": UUID}, {"a": str}, ("trees.Grown.a: old code wants format uuid",)),
        ({"a": Literal["x"]}, {"a": Literal["x", "y"]}, ("trees.Grown.a: old code does not take 'y'",)),
        ({"a": Literal["x"]}, {"a": str}, ("trees.Grown.a: old code takes 'x' only",)),
        (
            {"a": Annotated[int, Field(le=5)]},
            {"a": Annotated[int, Field(le=9)]},
            ("trees.Grown.a: old code wants maximum 5 instead of 9",),
        ),
    ],
)
def test_what_only_an_older_process_refuses_does_not_break(
    old: dict[str, Any], new: dict[str, Any], careful: tuple[str, ...]
) -> None:
    assert changes(old, new) == Changes((), careful)


def test_a_reader_that_refuses_unknown_fields_is_told_of() -> None:
    class Strict(Event, type="trees.Grown", extra="forbid"):
        a: int

    before = document(service("trees", events=(Strict,)))
    after = document(service("trees", events=(event(a=int, b=(int, 1)),)))
    assert changes_between(before, after).careful == ("trees.Grown.b: old code refuses fields that it does not know",)


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (lambda: service("trees", events=(Grown,), handlers=TREES.handlers), ["trees.Unused: the type is gone"]),
        (
            lambda: service("trees", events=TREES.contract.events, handlers=TREES.handlers[1:]),
            ["trees.Water: the type is gone"],
        ),
        (
            lambda: service("trees", events=TREES.contract.events, handlers=(handler(Water, "hose"), *TREES.handlers[1:])),
            ["trees.Water: the consumer 'water' of trees, to whom its inbox addresses them, no longer takes it"],
        ),
        (lambda: service("trees", events=(*TREES.contract.events, event_of_another_type()), handlers=TREES.handlers), []),
    ],
)
def test_types_and_consumers_that_go_are_told(change: Callable[[], Service], lines: list[str]) -> None:
    assert changes_between(document(TREES), document(change())).breaking == tuple(lines)


def event_of_another_type() -> type[Event]:
    class Rooted(Event, type="trees.Rooted"):
        tree: UUID

    return Rooted


def test_an_event_that_is_only_read_any_more_is_told() -> None:
    before, after = document(TREES, GARDEN), document(service("trees", events=(Unused,), handlers=TREES.handlers), GARDEN)
    assert changes_between(before, after).breaking == ("trees.Grown: trees no longer sends it",)


def test_another_ordering_key_is_told() -> None:
    class Elsewhere(Event, type="trees.Grown", key="metres"):
        tree: UUID
        metres: float
        leaf: Leaf | None = None
        place: tuple[int, str] = (0, "")
        bears: Annotated[Flower | Fruit, Field(discriminator="kind")] | None = None

    before, after = document(service("trees", events=(Grown,))), document(service("trees", events=(Elsewhere,)))
    assert changes_between(before, after).breaking == ("trees.Grown: its ordering key was tree and is metres",)
