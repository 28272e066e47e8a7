"""Inspections running beside a double of photos, under a clock that the tests move."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from inspections.contract import (
    AlreadyOpen,
    InspectionClosed,
    InspectionNotFound,
    InspectionOverdue,
    Inspections,
    InvalidInspection,
)
from inspections.messages import FindOverdue
from inspections.service import InspectionsService
from inspections.wiring import service
from trenza import Contract, Delivery, Event, Resources, Service, reacts, uuid7
from trenza.chassis.testing import (
    CallMode,
    ManualClock,
    RunningServices,
    bind,
    call_modes,
    differences_of_tables,
    run_services,
    stand_in,
)
from trenza.services.photos.contract import (
    Photo,
    PhotoCompleted,
    PhotoDeleted,
    PhotoFilter,
    PhotoNotFound,
    PhotoPage,
    PhotoPosition,
    Photos,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EDITOR = "inspections:editor"


class SomePhotos(Photos):
    """Photos that a test has made up, which break when it says so."""

    def __init__(self) -> None:
        self.known: dict[UUID, Photo] = {}
        self.broken = False

    async def get_photo(self, *, photo_id: UUID) -> Photo:
        if self.broken:
            raise RuntimeError("photos has a fault")
        if photo_id not in self.known:
            raise PhotoNotFound("there is no photo with this id")
        return self.known[photo_id]

    async def list_photos(
        self, *, matching: PhotoFilter | None = None, after: PhotoPosition | None = None, limit: int = 50
    ) -> PhotoPage:
        raise NotImplementedError

    async def delete_photo(self, *, photo_id: UUID) -> None:
        raise NotImplementedError

    async def retry_photo(self, *, photo_id: UUID) -> Photo:
        raise NotImplementedError


@pytest.fixture
def photos() -> SomePhotos:
    return SomePhotos()


@pytest.fixture
async def running(tmp_path: Path, photos: SomePhotos) -> AsyncIterator[RunningServices]:
    async with run_services(service, stand_in(photos), data_dir=tmp_path, clock=ManualClock()) as services:
        yield services


def completed(photos: SomePhotos, upid: str = "UP-1") -> PhotoCompleted:
    """What photos announces of a photo that it has from now on."""
    photo = Photo(
        id=uuid7(),
        upid=upid,
        status="completed",
        filename="a.jpg",
        media_type="image/jpeg",
        bytes=9,
        sha256="0" * 64,
        uploaded_by="ana",
        created_at=NOW,
        completed_at=NOW,
        original_key="photos/a.jpg",
        render_task=uuid7(),
    )
    photos.known[photo.id] = photo
    return PhotoCompleted(photo_id=photo.id, upid=upid, width=4, height=3, completed_at=NOW, versions=())


async def ordered(running: RunningServices, *, photos_needed: int = 2, upid: str = "UP-1") -> UUID:
    order = {"upid": upid, "title": "The north wall", "photos_needed": photos_needed}
    answer = await running.ask("POST", "/api/inspections", EDITOR, json=order)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/inspections/{answer.json()['id']}"
    return UUID(answer.json()["id"])


async def shown(running: RunningServices, inspection_id: UUID) -> dict[str, Any]:
    answer = await running.ask("GET", f"/api/inspections/{inspection_id}", "inspections:viewer")
    assert answer.status_code == 200, answer.text
    inspection: dict[str, Any] = answer.json()
    return inspection


async def test_an_inspection_closes_when_its_photos_are_complete_and_gets_a_report(
    running: RunningServices, photos: SomePhotos
) -> None:
    inspection_id = await ordered(running)
    first, elsewhere, second, late = (completed(photos, upid) for upid in ("UP-1", "UP-2", "UP-1", "UP-1"))
    for event in (first, elsewhere):
        await running.publish(event)
    await running.settled()
    assert (await shown(running, inspection_id))["photo_ids"] == [str(first.photo_id)]
    pending = await running.ask("GET", f"/api/inspections/{inspection_id}/report", EDITOR)
    assert (pending.status_code, pending.json()["code"], pending.json()["photos_missing"]) == (409, "REPORT_NOT_READY", 1)
    for event in (second, late):
        await running.publish(event)
    await running.settled()
    inspection = await shown(running, inspection_id)
    assert inspection["status"] == "closed"
    assert len(inspection["photo_ids"]) == 2
    report = await running.ask("GET", f"/api/inspections/{inspection_id}/report", "inspections:viewer")
    assert report.status_code == 200
    assert [photo["id"] for photo in report.json()["photos"]] == inspection["photo_ids"]


async def test_a_photo_counts_once_and_no_longer_when_it_is_deleted(running: RunningServices, photos: SomePhotos) -> None:
    inspection_id = await ordered(running)
    event = completed(photos)
    for _ in range(2):  # processed again: completed again
        await running.publish(event)
    await running.settled()
    assert (await shown(running, inspection_id))["photo_ids"] == [str(event.photo_id)]
    await running.publish(PhotoDeleted(photo_id=event.photo_id, upid="UP-1", deleted_by="ana"))
    await running.settled()
    assert (await shown(running, inspection_id))["photo_ids"] == []


@pytest.mark.parametrize("field", ["upid", "title"])
async def test_half_a_character_is_refused(running: RunningServices, field: str) -> None:
    order = {"upid": "UP-1", "title": "The north wall"} | {field: "a \ud800 b"}
    headers = {"Content-Type": "application/json"}
    answer = await running.ask("POST", "/api/inspections", EDITOR, content=json.dumps(order), headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_a_report_is_tried_again_while_photos_has_a_fault(running: RunningServices, photos: SomePhotos) -> None:
    inspection_id = await ordered(running, photos_needed=1)
    photos.broken = True
    await running.publish(completed(photos))
    await running.settled()
    await running.advance(3)  # the second attempt
    await running.settled()
    assert (await shown(running, inspection_id))["report_key"] is None
    photos.broken = False
    await running.advance(10)
    await running.settled()
    assert (await shown(running, inspection_id))["report_key"] == f"inspections/2026/{inspection_id}.json"


async def test_a_report_that_cannot_be_written_ends_as_a_dead_letter(running: RunningServices, photos: SomePhotos) -> None:
    photos.broken = True
    await ordered(running, photos_needed=1)
    await running.publish(completed(photos))
    await running.settled()
    for _ in range(9):
        await running.advance(3601)
        await running.settled(failures_expected=True)
    [letter] = await running.settled(failures_expected=True)
    assert (letter.type, letter.attempts) == ("inspections.WriteReport", 10)


async def test_a_photo_that_is_gone_is_left_out_of_the_report(running: RunningServices, photos: SomePhotos) -> None:
    inspection_id = await ordered(running, photos_needed=1)
    event = completed(photos)
    del photos.known[event.photo_id]
    await running.publish(event)
    await running.settled()
    report = await running.ask("GET", f"/api/inspections/{inspection_id}/report", EDITOR)
    assert report.json()["photos"] == []


async def test_what_is_ordered_is_checked_and_refused_in_two_languages(running: RunningServices) -> None:
    await ordered(running)
    again = await running.ask("POST", "/api/inspections", EDITOR, json={"upid": "UP-1", "title": "Again"})
    assert (again.status_code, again.json()["code"]) == (409, "ALREADY_OPEN")
    for field, order in (
        ("upid", {"upid": "a/b", "title": "x"}),
        ("title", {"upid": "UP-2", "title": " "}),
        ("photos_needed", {"upid": "UP-2", "title": "x", "photos_needed": 101}),
    ):
        refused = await running.ask("POST", "/api/inspections", EDITOR, json=order, headers={"Accept-Language": "es"})
        assert refused.status_code == 422
        assert refused.json()["field"] == field
        assert refused.json()["remedy"]
        assert refused.json()["detail"].startswith(f"El campo {field} no es válido")


async def test_each_route_asks_for_its_role(running: RunningServices) -> None:
    inspection_id = await ordered(running)
    one = f"/api/inspections/{inspection_id}"
    for method, path, role in (
        ("POST", "/api/inspections", "editor"),
        ("GET", "/api/inspections", "viewer"),
        ("GET", one, "viewer"),
        ("GET", f"{one}/report", "viewer"),
        ("POST", f"{one}/cancel", "manager"),
    ):
        assert (await running.ask(method, path)).status_code == 401
        refused = await running.ask(method, path, "photos:admin")
        assert (refused.status_code, refused.json().get("scope")) == (403, f"inspections:{role}")
    assert (await running.ask("POST", f"{one}/cancel", EDITOR)).status_code == 403


async def test_a_project_can_be_inspected_again_after_a_cancellation(running: RunningServices, photos: SomePhotos) -> None:
    first = await ordered(running)
    for _ in range(2):
        answer = await running.ask("POST", f"/api/inspections/{first}/cancel", "inspections:manager")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    second = await ordered(running, photos_needed=1)
    listed = await running.ask("GET", "/api/inspections?upid=UP-1", "inspections:viewer")
    assert [item["status"] for item in listed.json()["items"]] == ["open", "cancelled"]
    await running.publish(completed(photos))
    await running.settled()
    closed = await running.ask("POST", f"/api/inspections/{second}/cancel", "inspections:manager")
    assert (closed.status_code, closed.json()["code"]) == (409, "INSPECTION_NOT_OPEN")


class Listener(Contract, service="listener"):
    """Another service, which wants to know."""


class Ears(Listener):
    def __init__(self, _resources: Resources[Any]) -> None:
        self.heard: list[Event] = []


@reacts(InspectionClosed)
async def on_closed(listener: Ears, event: InspectionClosed, _delivery: Delivery) -> None:
    listener.heard.append(event)


@reacts(InspectionOverdue)
async def on_overdue(listener: Ears, event: InspectionOverdue, _delivery: Delivery) -> None:
    listener.heard.append(event)


LISTENER = Service(contract=Listener, implementation=Ears, handlers=(on_closed, on_overdue))


async def test_others_are_told_what_closed_and_once_what_is_late(tmp_path: Path, photos: SomePhotos) -> None:
    clock = ManualClock()
    async with run_services(service, stand_in(photos), LISTENER, data_dir=tmp_path, clock=clock) as running:
        late = await ordered(running)
        await running.advance(timedelta(days=7, seconds=1).total_seconds())
        closed = await ordered(running, photos_needed=1, upid="UP-2")
        event = completed(photos, "UP-2")
        await running.publish(event)
        for _ in range(2):
            assert (await running.run(FindOverdue())).state == "completed"
        await running.settled()
        heard = sorted(running.implementation(Ears).heard, key=lambda one: one.message_type)
    assert heard == [
        InspectionClosed(inspection_id=closed, upid="UP-2", photo_ids=(event.photo_id,), closed_at=clock.now()),
        InspectionOverdue(inspection_id=late, upid="UP-1", due_at=NOW + timedelta(days=7), photos_missing=2),
    ]


@call_modes
async def test_the_contract_is_the_same_near_and_far(running: RunningServices, call_mode: CallMode) -> None:
    async with bind(Inspections, running.implementation(InspectionsService), call_mode) as inspections:
        opened = await inspections.open_inspection(upid="UP-1", title="The roof")
        assert opened.photos_needed == 3
        assert await inspections.get_inspection(inspection_id=opened.id) == opened
        assert await inspections.list_inspections(upid="UP-1") == (opened,)
        with pytest.raises(AlreadyOpen) as refusal:
            await inspections.open_inspection(upid="UP-1", title="The roof")
        assert refusal.value.fields["inspection_id"] == str(opened.id)
        with pytest.raises(InvalidInspection):
            await inspections.open_inspection(upid="", title="The roof")
        with pytest.raises(InspectionNotFound):
            await inspections.get_inspection(inspection_id=uuid7())
        assert (await inspections.cancel_inspection(inspection_id=opened.id)).status == "cancelled"


async def test_the_migrations_make_the_tables(tmp_path: Path) -> None:
    assert await differences_of_tables(service, f"sqlite+aiosqlite:///{tmp_path / 'inspections.sqlite3'}") == []
