"""Contracts: what an author may write, and the sentence that every mistake raises at import."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trenza.chassis.contract import CallFailed, Contract, ContractError, Event, Task, Value, operation

HEADER = """
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NewType, Optional
from uuid import UUID
from pydantic import BaseModel, Field, JsonValue
from trenza.chassis.contract import Contract, ContractError, Event, Task, Value, operation

class Money(Value):
    amount: int
    currency: str = "EUR"

class CardDeclined(ContractError):
    status = 402

class HoldPlaced(Event, type="payments.HoldPlaced", key="hold_id"):
    hold_id: UUID
"""


def author(code: str, *, future: bool = True) -> dict[str, object]:
    """Import a module that an author wrote."""
    start = "from __future__ import annotations\n" if future else ""
    module = ModuleType("authored")
    sys.modules["authored"] = module  # where lazy annotations are looked up
    try:
        program = compile(start + HEADER + textwrap.dedent(code), "authored.py", "exec", dont_inherit=True)
        exec(program, vars(module))  # noqa: S102 - importing what an author wrote is what is tested
    finally:
        del sys.modules["authored"]
    return vars(module)


def contract(body: str, header: str = 'service="payments"') -> str:
    return f"class Payments(Contract, {header}):\n" + textwrap.indent(textwrap.dedent(body), "    ")


GOOD = """
@operation(idempotent=True, timeout=5, errors=(CardDeclined,))
@abstractmethod
async def hold(self, *, work_id: UUID, amount: Money = Money(amount=1)) -> Money:
    "Reserve it."
"""

MISTAKES: list[tuple[str, str, str]] = [
    (
        "list field",
        "class V(Value):\n    a: list[int]",
        "V.a holds a list; only immutable types may cross a service boundary (use a tuple)",
    ),
    ("dict field", "class V(Value):\n    a: dict[str, int]", "V.a holds a dict; .* (use a Value, or a tuple of pairs)"),
    ("nested set", "class V(Value):\n    a: tuple[Optional[set[int]], ...]", "V.a holds a set"),
    ("annotated", "class V(Value):\n    a: tuple[Annotated[list[int], Field(min_length=1)], ...]", "V.a holds a list"),
    ("open type", "class V(Value):\n    a: Sequence[int]", "V.a holds a Sequence; .* (use a tuple)"),
    ("open mapping", "class V(Value):\n    a: Mapping[str, int]", "V.a holds a Mapping"),
    ("json", "class V(Value):\n    a: JsonValue", "V.a holds a list"),
    ("new type", "L = NewType('L', list)\nclass V(Value):\n    a: L", "V.a holds a list"),
    ("anything", "class V(Value):\n    a: Any", "V.a is annotated Any, which does not say what is inside; name the types"),
    ("bare tuple", "class V(Value):\n    a: tuple", "V.a is annotated tuple, which does not say what is inside"),
    (
        "model",
        "class M(BaseModel):\n    a: int\nclass V(Value):\n    m: M",
        "V.m holds M, a pydantic model; derive it from Value",
    ),
    ("dataclass", "@dataclass\nclass D:\n    a: int\nclass V(Value):\n    d: D", "V.d holds D, a mutable dataclass; declare it"),
    ("thawed", "class V(Value):\n    model_config = {'frozen': False}\n    a: int", "V switches frozen off; .* leave it frozen"),
    ("mutable default", "class V(Value):\n    a: tuple[int, ...] = []", "V.a has a mutable default"),
    ("mutable factory", "class V(Value):\n    a: tuple[int, ...] = Field(default_factory=list)", "V.a has a mutable default"),
    ("unknown type", "class V(Value):\n    a: Nowhere", "V.a: Nowhere is unknown; define or import it above"),
    ("later type", "class V(Value):\n    a: W\nclass W(Value):\n    b: int", "V.a: W is unknown; define or import it above"),
    ("untyped event", "class E(Event):\n    a: int", 'E needs a type: class E(Event, type="service.Name")'),
    ("untyped task", "class T(Task):\n    a: int", 'T needs a type: class T(Task, type="service.Name")'),
    ("odd type", "class E(Event, type='Placed'):\n    a: int", "E has the type 'Placed'; write it as service.Name"),
    ("unknown key", "class E(Event, type='a.E', key='b'):\n    a: int", "E is ordered by 'b', which is not one of its fields"),
    ("status", "class E(ContractError):\n    status = 200", "E.status is 200; a refusal has an HTTP status from 400 to 599"),
    ("no service", "class P(Contract):\n    pass", 'P names no service: class P(Contract, service="…")'),
    ("service name", contract("pass", 'service="Pay-ments"'), "service='Pay-ments' must be a lower-case word"),
    ("path string", contract("pass", 'service="payments", paths=("/payment")'), 'paths must be a tuple: paths=("/payment",)'),
    ("path", contract("pass", 'service="payments", paths=("/payment/",)'), "Payments owns the path '/payment/'; write it"),
    ("derived", contract(GOOD) + "\nclass Other(Payments, service='other'):\n    pass", "derive it from Contract alone"),
    ("undeclared", contract("async def hold(self) -> None: ..."), "Payments.hold is public but is not declared with @operation"),
    (
        "property",
        contract("@property\ndef hold(self) -> int: ..."),
        "Payments.hold is public but is not declared with @operation",
    ),
    ("static", contract("@staticmethod\ndef hold() -> int: ..."), "Payments.hold is public but is not declared with @operation"),
    ("sync", contract("@operation()\n@abstractmethod\ndef hold(self) -> None: ..."), "Payments.hold must be `async def`"),
    (
        "concrete",
        contract("@operation()\nasync def hold(self) -> None: ..."),
        "Payments.hold needs @abstractmethod below @operation",
    ),
    (
        "positional",
        contract("@operation()\n@abstractmethod\nasync def hold(self, work: int) -> None: ..."),
        "Payments.hold: parameter 'work' must be keyword-only and annotated (put `*` after self)",
    ),
    (
        "catch-all",
        contract("@operation()\n@abstractmethod\nasync def hold(self, **work: int) -> None: ..."),
        "Payments.hold: parameter 'work' must be keyword-only",
    ),
    (
        "unannotated parameter",
        contract("@operation()\n@abstractmethod\nasync def hold(self, *, work) -> None: ..."),
        "Payments.hold: parameter 'work' must be keyword-only and annotated",
    ),
    (
        "unannotated result",
        contract("@operation()\n@abstractmethod\nasync def hold(self): ..."),
        "Payments.hold needs a return annotation",
    ),
    (
        "unknown name",
        contract("@operation()\n@abstractmethod\nasync def hold(self) -> Nowhere: ..."),
        "Payments.hold: 'Nowhere' is unknown; define or import it above, outside `if TYPE_CHECKING`",
    ),
    (
        "mutable parameter",
        contract("@operation()\n@abstractmethod\nasync def hold(self, *, ids: list[int]) -> None: ..."),
        "Payments.hold: parameter 'ids' holds a list",
    ),
    (
        "mutable result",
        contract("@operation()\n@abstractmethod\nasync def hold(self) -> dict[str, int]: ..."),
        "Payments.hold: the result holds a dict",
    ),
    (
        "mutable parameter default",
        contract("@operation()\n@abstractmethod\nasync def hold(self, *, ids: tuple[int, ...] = [1]) -> None: ..."),
        "Payments.hold: the default of 'ids' is a mutable list; use a tuple",
    ),
    (
        "timeout",
        contract("@operation(timeout=0)\n@abstractmethod\nasync def hold(self) -> None: ..."),
        "Payments.hold: timeout is 0; give the seconds that it may take, more than 0",
    ),
    (
        "errors not a tuple",
        contract("@operation(errors=CardDeclined)\n@abstractmethod\nasync def hold(self) -> None: ..."),
        "Payments.hold: errors must be a tuple: errors=(CardDeclined,)",
    ),
    (
        "foreign error",
        contract("@operation(errors=(ValueError,))\n@abstractmethod\nasync def hold(self) -> None: ..."),
        "is not a ContractError; derive it from ContractError, or leave it out",
    ),
    (
        "error with an __init__",
        "class Odd(ContractError):\n    def __init__(self, limit: int) -> None:\n        super().__init__(limit=limit)\n"
        + contract("@operation(errors=(Odd,))\n@abstractmethod\nasync def hold(self) -> None: ..."),
        "Payments.hold: Odd has its own __init__, which the wire cannot call; pass fields instead",
    ),
    (
        "code twice in an operation",
        "class Other(ContractError):\n    code = 'CARD_DECLINED'\n"
        + contract("@operation(errors=(CardDeclined, Other))\n@abstractmethod\nasync def hold(self) -> None: ..."),
        "Payments.hold: Other and CardDeclined share the code 'CARD_DECLINED'; change one",
    ),
    (
        "code twice in a contract",
        "class Other(ContractError):\n    code = 'CARD_DECLINED'\n"
        + contract(GOOD + "@operation(errors=(Other,))\n@abstractmethod\nasync def take(self) -> None: ..."),
        "Payments: Other and CardDeclined share the code 'CARD_DECLINED'; change one",
    ),
    (
        "reserved name",
        contract("@operation()\n@abstractmethod\nasync def schema(self) -> None: ..."),
        "Payments.schema would hide a member of every contract; name it otherwise",
    ),
    ("events not a tuple", contract("pass", 'service="payments", events=HoldPlaced'), "Payments: events must be a tuple"),
    ("foreign event", contract("pass", 'service="fleet", events=(HoldPlaced,)'), "events of fleet start with 'fleet.'"),
    (
        "event twice",
        contract("pass", 'service="payments", events=(HoldPlaced, HoldPlaced)'),
        "announces 'payments.HoldPlaced' twice",
    ),
    (
        "task among the events",
        "class T(Task, type='payments.T'):\n    a: int\n" + contract("pass", 'service="payments", events=(T,)'),
        "is not an Event; a task is the service's own affair",
    ),
    (
        "sync implementation",
        contract(GOOD) + "\nclass Bank(Payments):\n    def hold(self, *, work_id, amount): ...",
        "Bank.hold must be `async def`, as its contract declares it",
    ),
    (
        "implementation lacks a parameter",
        contract(GOOD) + "\nclass Bank(Payments):\n    async def hold(self, *, work_id): ...",
        "Bank.hold lacks the parameter 'amount' of its contract; take the same parameters",
    ),
    (
        "implementation wants more",
        contract(GOOD) + "\nclass Bank(Payments):\n    async def hold(self, *, work_id, amount, tip): ...",
        "Bank.hold requires the parameter 'tip', which its contract does not have; add it there",
    ),
]


WAYS = [
    pytest.param(code, sentence, future, id=f"{name}, {'lazy' if future else 'eager'} annotations")
    for name, code, sentence in MISTAKES
    for future in (True, False)
    if future or "unknown" not in sentence  # Python itself refuses an unknown name in an eager annotation
]


@pytest.mark.parametrize(("code", "sentence", "future"), WAYS)
def test_a_mistake_raises_at_import_and_says_what_to_do(code: str, sentence: str, *, future: bool) -> None:
    pattern = ".*".join(re.escape(part) for part in sentence.split(".*"))
    with pytest.raises(TypeError, match=pattern):
        author(code, future=future)


def test_what_is_right_is_accepted() -> None:
    names = author(
        contract(GOOD, 'service="payments", paths=("/payment", "/api/v1/cards"), events=(HoldPlaced,)')
        + """
class Bank(Payments):
    async def hold(self, *, work_id: UUID, amount: Money = Money(amount=1), trace: bool = False) -> Money:
        return amount
    async def internal(self) -> list[int]:
        return []
class Node(Value):
    name: Literal["a", "b"]
    children: tuple[Node, ...] = ()
    tags: frozenset[str] = frozenset()
"""
    )
    payments = names["Payments"]
    assert isinstance(payments, type)
    assert issubclass(payments, Contract)
    assert list(payments.operations) == ["hold"]
    declared = payments.operations["hold"]
    assert (declared.idempotent, declared.timeout, [e.__name__ for e in declared.errors]) == (True, 5, ["CardDeclined"])
    assert isinstance(names["Bank"], type)
    assert names["Bank"]()


def test_a_value_is_frozen_and_ignores_what_a_newer_peer_sends() -> None:
    class Point(Value):
        x: int

    point = Point.model_validate({"x": 1, "y": 2})
    assert point == Point(x=1)
    assert hash(point) == hash(Point(x=1))
    with pytest.raises(ValidationError, match="frozen"):
        point.x = 2  # type: ignore[misc]  # what the test is about


class Colour(Enum):
    RED = "red"


class Everything(Value):
    """One field of each kind that services use."""

    whole: int
    real: float
    exact: Decimal
    text: str
    raw: bytes
    moment: datetime
    span: timedelta
    identifier: UUID
    colour: Colour
    maybe: int | None
    several: tuple[str, ...]
    distinct: frozenset[int]


EVERYTHING = st.builds(
    Everything,
    whole=st.integers(),
    real=st.floats(allow_nan=False),
    exact=st.decimals(allow_nan=False, allow_infinity=False),
    text=st.text(),
    raw=st.binary(),
    moment=st.datetimes(timezones=st.just(UTC)),
    span=st.timedeltas(min_value=timedelta(days=-100_000), max_value=timedelta(days=100_000)),
    identifier=st.uuids(),
    colour=st.sampled_from(Colour),
    maybe=st.none() | st.integers(),
    several=st.lists(st.text()).map(tuple),
    distinct=st.frozensets(st.integers()),
)


@given(EVERYTHING)
def test_a_value_is_equal_to_itself_after_a_journey_as_json(value: Everything) -> None:
    assert Everything.model_validate_json(value.model_dump_json()) == value


def test_an_event_has_a_type_and_an_ordering_key() -> None:
    class Moved(Event, type="fleet.Moved", key="vehicle"):
        vehicle: int

    class Sweep(Task, type="fleet.Sweep"):
        pass

    assert (Moved.message_type, Moved(vehicle=7).ordering_key) == ("fleet.Moved", "7")
    assert (Sweep.message_type, Sweep().ordering_key) == ("fleet.Sweep", None)


def test_an_error_names_itself_and_carries_json() -> None:
    class CardDeclined(ContractError):
        status = 402

    error = CardDeclined("No money left.", limit=3, tried=["a", {"b": None}])
    assert (error.code, error.title, error.status) == ("CARD_DECLINED", "Card declined", 402)
    assert (str(error), error.detail, error.fields) == (
        "No money left.",
        "No money left.",
        {"limit": 3, "tried": ["a", {"b": None}]},
    )
    assert CardDeclined().detail == "Card declined"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"limit": Decimal(1)}, "the field 'limit' is a Decimal; give it as a JSON value"),
        ({"sizes": (1, 2)}, "the field 'sizes' is a tuple; give it as a JSON value"),
        ({"by": [{1: 2}]}, "the field 'by' has the key 1; keys of JSON objects are strings"),
        ({"status": 3}, "the field 'status' is a member of every problem; name it otherwise"),
    ],
)
def test_fields_of_an_error_that_a_wire_would_change_are_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TypeError, match=re.escape(sentence)):
        ContractError(**fields)


def test_a_failed_call_says_which_and_whether_it_ran() -> None:
    failure = CallFailed("payments", "hold", "it was unreachable", ran=False)
    assert str(failure) == "payments.hold: it was unreachable"
    assert failure.ran is False


def test_the_schema_of_a_contract_is_json_and_the_same_each_time() -> None:
    header = 'service="payments", paths=("/payment",), events=(HoldPlaced,)'
    first, second = (author(contract(GOOD, header))["Payments"] for _ in range(2))
    assert isinstance(first, type)
    assert isinstance(second, type)
    assert issubclass(first, Contract)
    assert issubclass(second, Contract)
    schema = first.schema()
    assert json.dumps(schema) == json.dumps(second.schema())
    assert schema["paths"] == ["/payment"]
    assert schema["errors"] == {"CARD_DECLINED": {"status": 402, "title": "Card declined"}}
    operations = schema["operations"]
    assert isinstance(operations, dict)
    hold = operations["hold"]
    assert isinstance(hold, dict)
    assert (hold["idempotent"], hold["timeout"], hold["errors"]) == (True, 5, ["CARD_DECLINED"])
    assert hold["defaults"] == {"amount": {"amount": 1, "currency": "EUR"}}
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    assert {"Money", "hold_parameters", "hold_answer"} <= definitions.keys()
    events = schema["events"]
    assert isinstance(events, dict)
    assert list(events) == ["payments.HoldPlaced"]


def test_a_change_to_a_contract_shows_in_its_schema() -> None:
    before = author(contract(GOOD))["Payments"]
    after = author(contract(GOOD.replace("work_id: UUID", "work_id: int")))["Payments"]
    assert isinstance(before, type)
    assert isinstance(after, type)
    assert issubclass(before, Contract)
    assert issubclass(after, Contract)
    assert before.schema() != after.schema()


def test_operation_keeps_the_function() -> None:
    async def hold() -> None: ...

    assert operation()(hold) is hold
