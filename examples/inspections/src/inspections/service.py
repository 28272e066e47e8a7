"""What inspections does: its contract, counting photos, reports, and who is late."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel

from inspections import rules, store
from inspections.contract import (
    AlreadyOpen,
    Inspection,
    InspectionClosed,
    InspectionNotFound,
    InspectionNotOpen,
    InspectionOverdue,
    Inspections,
    ReportNotReady,
)
from inspections.messages import WriteReport
from inspections.settings import InspectionsSettings
from trenza import Resources, UnitOfWork, current_context, uuid7
from trenza.services.photos.contract import Photo, PhotoNotFound, Photos

__all__ = ["InspectionsService"]


class Report(BaseModel):
    """The report of an inspection, as it is stored."""

    inspection: Inspection
    photos: tuple[Photo, ...]
    """Those that still exist."""


class InspectionsService(Inspections):
    """Inspections over a database, the shared object store and the contract of photos."""

    def __init__(self, resources: Resources[InspectionsSettings]) -> None:
        self.settings = resources.settings
        self.blobs = resources.blobs
        self._database = resources.database
        self._clock = resources.clock
        self._photos = resources.call(Photos)

    async def open_inspection(self, *, upid: str, title: str, photos_needed: int | None = None) -> Inspection:
        """Order the photographs of a project."""
        needed = self.settings.photos_needed if photos_needed is None else photos_needed
        upid, title = rules.read_order(upid=upid, title=title, photos_needed=needed)
        now = self._clock.now()
        inspection = Inspection(
            id=uuid7(),
            upid=upid,
            title=title,
            status="open",
            photos_needed=needed,
            opened_by=current_context().principal.subject,
            opened_at=now,
            due_at=now + timedelta(days=self.settings.days),
        )
        try:
            async with self._database.work() as work:
                await store.add(work, inspection)
        except store.AnotherIsOpen:
            other = next((found for found in await self.list_inspections(upid=upid) if found.status == "open"), None)
            raise AlreadyOpen(
                "this project has an open inspection",
                inspection_id=None if other is None else str(other.id),
                remedy="photograph that one to its end, or cancel it",
            ) from None
        return inspection

    async def get_inspection(self, *, inspection_id: UUID) -> Inspection:
        """One inspection."""
        async with self._database.read() as connection:
            inspection = await store.find(connection, inspection_id)
        if inspection is None:
            raise InspectionNotFound("there is no inspection with this id")
        return inspection

    async def list_inspections(self, *, upid: str | None = None) -> tuple[Inspection, ...]:
        """The newest hundred."""
        async with self._database.read() as connection:
            return await store.list_newest(connection, upid)

    async def cancel_inspection(self, *, inspection_id: UUID) -> Inspection:
        """Give an open inspection up."""
        async with self._database.work() as work:
            inspection = await store.find_locked(work, inspection_id)
            if inspection is None:
                raise InspectionNotFound("there is no inspection with this id")
            if inspection.status == "closed":
                raise InspectionNotOpen("this inspection is closed: its photos are complete")
            if inspection.status == "open":
                inspection = await store.change(work, inspection, status="cancelled", ended_at=self._clock.now())
        return inspection

    async def count_photo(self, work: UnitOfWork, upid: str, photo_id: UUID, *, completed_at: datetime) -> None:
        """Count a completed photo for the open inspection of its project, and close that when it was the last one."""
        inspection = await store.find_open(work, upid)
        if inspection is None:
            return
        inspection = await store.add_photo(work, inspection, photo_id, completed_at=completed_at)
        if rules.is_complete(inspection):
            now = self._clock.now()
            await store.change(work, inspection, status="closed", ended_at=now)
            await work.publish(
                InspectionClosed(inspection_id=inspection.id, upid=inspection.upid, photo_ids=inspection.photo_ids, closed_at=now)
            )
            await work.enqueue(WriteReport(inspection_id=inspection.id))

    async def forget_photo(self, work: UnitOfWork, upid: str, photo_id: UUID) -> None:
        """Count a deleted photo no longer, while the inspection is open."""
        inspection = await store.find_open(work, upid)
        if inspection is not None:
            await store.remove_photo(work, inspection, photo_id)

    async def write_report(self, inspection: Inspection) -> str:
        """Put the report into the object store and return its key. Doing it again overwrites the same object."""
        found = [await self._photo(photo_id) for photo_id in inspection.photo_ids]
        report = Report(inspection=inspection, photos=tuple(photo for photo in found if photo is not None))
        key = rules.report_key(inspection, inspection.ended_at or inspection.opened_at)
        await self.blobs.put(key, report.model_dump_json().encode(), media_type="application/json")
        return key

    async def keep_report(self, work: UnitOfWork, inspection: Inspection, key: str) -> None:
        """Note where the report is."""
        await store.change(work, inspection, report_key=key)

    async def report_of(self, inspection_id: UUID) -> str:
        """The object key of a report. Raises `ReportNotReady`."""
        inspection = await self.get_inspection(inspection_id=inspection_id)
        if inspection.report_key is None:
            missing = max(0, inspection.photos_needed - len(inspection.photo_ids))
            raise ReportNotReady(
                "the report of this inspection is not written", inspection_status=inspection.status, photos_missing=missing
            )
        return inspection.report_key

    async def announce_overdue(self, work: UnitOfWork) -> int:
        """Announce the inspections whose day has passed, each once; returns how many."""
        late = await store.find_overdue(work, self._clock.now())
        for inspection in late:
            await store.change(work, inspection, overdue=True)
            missing = inspection.photos_needed - len(inspection.photo_ids)
            await work.publish(
                InspectionOverdue(
                    inspection_id=inspection.id, upid=inspection.upid, due_at=inspection.due_at, photos_missing=missing
                )
            )
        return len(late)

    async def _photo(self, photo_id: UUID) -> Photo | None:
        try:
            return await self._photos.get_photo(photo_id=photo_id)
        except PhotoNotFound:  # deleted after the inspection had closed
            return None
