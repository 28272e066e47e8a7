"""The envelope: what it says on the wire, and that it says the same on the way back."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trenza.chassis.context import Context, Principal
from trenza.chassis.contract import Event
from trenza.chassis.messages.envelope import Envelope, Unreadable

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Moved(Event, type="fleet.Moved", key="vehicle"):
    vehicle: str
    metres: float = 0.0


def wrapped(message: Event, context: Context | None = None, deliver_by: datetime | None = None) -> Envelope:
    context = context or Context(correlation_id="c-1")
    return Envelope.wrap(message, message_id=ID, service="fleet", time=NOON, deliver_by=deliver_by, context=context)


def test_it_is_a_cloudevent() -> None:
    ana = Principal(subject="ana", kind="user", scopes=("fleet:viewer", "fleet:editor"))
    context = Context(correlation_id="c-1", principal=ana, traceparent="00-aa-bb-01")
    event = orjson.loads(wrapped(Moved(vehicle="v7", metres=1.5), context, NOON).to_json())
    assert event == {
        "specversion": "1.0",
        "id": str(ID),
        "source": "trenza/fleet",
        "type": "fleet.Moved",
        "time": "2026-01-01T12:00:00+00:00",
        "subject": "v7",
        "datacontenttype": "application/json",
        "orderingkey": "v7",
        "deliverby": "2026-01-01T12:00:00+00:00",
        "correlationid": "c-1",
        "traceparent": "00-aa-bb-01",
        "principal": "ana",
        "principalkind": "user",
        "principalscopes": "fleet:viewer fleet:editor",
        "data": {"vehicle": "v7", "metres": 1.5},
    }
    assert all(name.isalnum() and name.islower() for name in event), "the naming rule of CloudEvents"


@given(
    vehicle=st.text(min_size=1, max_size=50).filter(lambda text: text.isprintable()),
    metres=st.floats(allow_nan=False, allow_infinity=False),
)
def test_it_comes_back_as_it_went(vehicle: str, metres: float) -> None:
    message = Moved(vehicle=vehicle, metres=metres)
    sent = wrapped(message)
    received = Envelope.from_json(sent.to_json().encode())
    assert received == Envelope.from_json(received.to_json())
    assert (received.id, received.time, received.ordering_key, received.correlation_id) == (ID, NOON, vehicle, "c-1")
    assert received.read(Moved) == message


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_any_bytes_are_read_or_refused(body: bytes | str) -> None:
    with pytest.raises(Unreadable):
        Envelope.from_json(body)


def test_what_a_stranger_adds_or_forges_is_ignored() -> None:
    event = orjson.loads(wrapped(Moved(vehicle="v7")).to_json()) | {
        "correlationid": "forged\nlog line",
        "principal": "root",
        "principalkind": "superuser",
        "whatever": [1, 2],
    }
    envelope = Envelope.from_json(orjson.dumps(event))
    assert envelope.context().principal.kind == "anonymous"
    assert "\n" not in envelope.correlation_id


@pytest.mark.parametrize("change", [{"type": 7}, {"id": None}, {"time": "yesterday"}, {"orderingkey": 3}, {"source": ""}])
def test_attributes_of_the_wrong_kind_are_refused(change: dict[str, object]) -> None:
    event = orjson.loads(wrapped(Moved(vehicle="v7")).to_json()) | change
    with pytest.raises(Unreadable):
        Envelope.from_json(orjson.dumps(event))
