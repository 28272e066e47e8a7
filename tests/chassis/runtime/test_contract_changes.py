"""The document of contracts, and which changes to an operation break those who call it."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

import orjson
import pytest

from trenza.chassis.contract import Contract, ContractError, Event, Value, operation
from trenza.chassis.runtime.asyncapi import NoDocument
from trenza.chassis.runtime.contracts import changes_between_contracts, describe_contracts
from trenza.chassis.service import Service


class CardDeclined(ContractError):
    status = 402


class CardStolen(ContractError):
    status = 403


class Money(Value):
    cents: int
    currency: Literal["COP", "USD"] = "COP"


class Hold(Value):
    id: str
    amount: Money
    place: tuple[int, str] = (0, "")


class HoldPlaced(Event, type="payments.HoldPlaced"):
    """Not part of the document."""


class Payments(Contract, service="payments", events=(HoldPlaced,)):
    @operation(idempotent=True, timeout=10, errors=(CardDeclined,))
    @abstractmethod
    async def place_hold(self, *, amount: Money, note: str = "") -> Hold: ...

    @operation()
    @abstractmethod
    async def ping(self) -> None: ...


def _never(_resources: Any) -> Contract:
    raise AssertionError("a document needs no implementation")


def document(*contracts: type[Contract]) -> Any:
    return describe_contracts([Service(contract=each, implementation=_never) for each in contracts], title="Shop")


OLD = document(Payments)


def test_the_document_says_what_a_caller_needs() -> None:
    hold = OLD["services"]["payments"]["operations"]["place_hold"]
    assert (hold["idempotent"], hold["timeout"], hold["errors"], hold["defaults"]) == (True, 10, ["CARD_DECLINED"], {"note": ""})
    assert OLD["services"]["payments"]["errors"] == {"CARD_DECLINED": {"status": 402, "title": "Card declined"}}
    assert "HoldPlaced" not in orjson.dumps(OLD).decode()
    assert orjson.dumps(document(Payments)) == orjson.dumps(OLD)


def test_nothing_has_changed() -> None:
    changes = changes_between_contracts(OLD, orjson.loads(orjson.dumps(OLD)))
    assert (changes.breaking, changes.careful) == ((), ())


def changed(change: Callable[[Any], None]) -> Any:
    new = copy.deepcopy(OLD)
    change(new["services"]["payments"])
    return new


def hold_of(service: Any) -> Any:
    return service["operations"]["place_hold"]


def schema(service: Any, name: str) -> Any:
    return service["$defs"][name]


def parameters(service: Any) -> Any:
    reference = hold_of(service)["parameters"]
    return schema(service, reference["$ref"].rpartition("/")[2]) if "$ref" in reference else reference


def require_a_parameter(service: Any) -> None:
    members = _members(parameters(service), service)
    members["properties"]["card"] = {"type": "string"}
    members["required"].append("card")


def _members(found: Any, service: Any) -> Any:
    while "$ref" in found:
        found = schema(service, found["$ref"].rpartition("/")[2])
    return found


def remove_a_parameter(service: Any) -> None:
    del _members(parameters(service), service)["properties"]["note"]


def narrow_a_parameter(service: Any) -> None:
    _members(parameters(service), service)["properties"]["note"]["maxLength"] = 5


def add_an_optional_parameter(service: Any) -> None:
    _members(parameters(service), service)["properties"]["card"] = {"type": "string", "default": ""}


def _hold(service: Any) -> Any:
    return schema(service, "Hold")


def remove_a_result_field(service: Any) -> None:
    del _hold(service)["properties"]["id"]
    _hold(service)["required"].remove("id")


def make_a_result_field_optional(service: Any) -> None:
    _hold(service)["properties"]["id"] = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def add_a_result_field(service: Any) -> None:
    _hold(service)["properties"]["note"] = {"type": "string"}
    _hold(service)["required"].append("note")


def lengthen_a_tuple(service: Any) -> None:
    place = _hold(service)["properties"]["place"]
    place["prefixItems"].append({"type": "string"})
    place["minItems"] = place["maxItems"] = 3


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda new: new["operations"].pop("ping"), "payments.ping: the operation is gone"),
        (require_a_parameter, "payments.place_hold().card: the callee requires it, and it was never written"),
        (remove_a_parameter, "payments.place_hold().note: it is gone"),
        (narrow_a_parameter, "payments.place_hold().note: the callee wants maxLength 5"),
        (remove_a_result_field, "payments.place_hold.result.id: an old caller requires it, and it was never written"),
        (make_a_result_field_optional, "payments.place_hold.result.id: an old caller does not take null"),
        (lengthen_a_tuple, "payments.place_hold.result.place: an old caller wants maxItems 2 instead of 3"),
        (
            lambda new: hold_of(new)["errors"].append("CARD_STOLEN"),
            "payments.place_hold errors: old callers do not know CARD_STOLEN, and see a failed call",
        ),
        (
            lambda new: hold_of(new).update(idempotent=False),
            "payments.place_hold idempotent: it was, and old callers still repeat it",
        ),
    ],
)
def test_what_breaks(change: Callable[[Any], None], line: str) -> None:
    assert line in changes_between_contracts(OLD, changed(change)).breaking


def test_a_service_that_is_gone_breaks() -> None:
    assert changes_between_contracts(OLD, document()).breaking == ("payments: the service is gone",)


@pytest.mark.parametrize(
    ("change", "careful"),
    [
        (lambda new: new["operations"].update(refund=copy.deepcopy(hold_of(new))), []),
        (add_an_optional_parameter, []),
        (add_a_result_field, ["payments.place_hold.result.note: a new caller requires it, and it was never written"]),
        (lambda new: hold_of(new)["errors"].clear(), []),
        (lambda new: new["operations"]["ping"].update(idempotent=True), []),
        (lambda new: hold_of(new).update(timeout=60), []),
        (lambda new: hold_of(new).update(timeout=5), ["payments.place_hold timeout: 10 s became 5 s"]),
        (
            lambda new: hold_of(new)["defaults"].update(note="-"),
            ["payments.place_hold() note: old callers go on sending the old default ''"],
        ),
    ],
)
def test_what_does_not_break(change: Callable[[Any], None], careful: list[str]) -> None:
    changes = changes_between_contracts(OLD, changed(change))
    assert changes.breaking == ()
    assert list(changes.careful) == careful


def test_classes_give_the_same_verdicts() -> None:
    class Slower(Contract, service="payments"):
        @operation(timeout=5, errors=(CardDeclined, CardStolen))
        @abstractmethod
        async def place_hold(self, *, amount: Decimal, note: str = "") -> Hold | None: ...

        @operation()
        @abstractmethod
        async def ping(self, *, loudly: bool = False) -> None: ...

    changes = changes_between_contracts(OLD, document(Slower))
    assert {line.partition(":")[0] for line in changes.breaking} == {
        "payments.place_hold().amount",
        "payments.place_hold.result",
        "payments.place_hold errors",
        "payments.place_hold idempotent",
    }


@pytest.mark.parametrize(
    "other",
    [
        None,
        [],
        {},
        {"format": "trenza contracts 1"},
        {"format": "trenza contracts 1", "services": {"a": {}}},
        {"format": "trenza contracts 1", "services": {"a": {"$defs": {}, "operations": {"b": {}}}}},
        {"asyncapi": "3.0.0"},
    ],
)
def test_what_is_no_document_is_refused(other: Any) -> None:
    for pair in ((other, OLD), (OLD, other)):
        with pytest.raises(NoDocument, match="no document that `trenza contracts` has printed"):
            changes_between_contracts(*pair)
