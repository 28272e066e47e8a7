"""Processing many photos again: after an outage, or because other versions are wanted."""

from __future__ import annotations

from typing import Final

from trenza.chassis.data import UnitOfWork
from trenza.chassis.service import Resources
from trenza.services.photos import store
from trenza.services.photos.contract import Reprocessing, Status
from trenza.services.photos.messages import RenderPhoto, ReprocessPhotos
from trenza.services.photos.service.changes import Changes
from trenza.services.photos.settings import PhotosSettings

__all__ = ["Reprocess"]

_BATCH: Final = 50
"""Photos of one transaction: on SQLite it holds the only write lock for some ten milliseconds."""
_BACKGROUND: Final = -1
"""New uploads go first."""


class Reprocess:
    """Queues photos again, in batches, in the background."""

    def __init__(self, resources: Resources[PhotosSettings], changes: Changes) -> None:
        self._changes = changes
        self._database = resources.database
        self._clock = resources.clock

    async def start(self, *, upid: str | None, statuses: tuple[Status, ...]) -> Reprocessing:
        """Order it for all photos that are in these states now."""
        order = ReprocessPhotos(upid=upid, statuses=statuses, before=self._clock.now())
        async with self._database.read() as connection:
            matching = await store.count_to_requeue(connection, order)
        async with self._database.work() as work:
            return Reprocessing(task_id=await work.enqueue(order, priority=_BACKGROUND), matching=matching)

    async def requeue(self, work: UnitOfWork, order: ReprocessPhotos) -> int:
        """Queue the next batch, and order the one after it; returns how many were queued."""
        batch = await store.batch_to_requeue(work, order, _BATCH)
        queued = 0
        for photo_id, status in batch:
            task = RenderPhoto(photo_id=photo_id)
            # Under its key, a task that is still going to run is not doubled.
            task_id = await work.enqueue(task, priority=_BACKGROUND, unique_key=str(photo_id))
            self._changes.announce(work, photo_id)
            queued += await store.requeue(work, photo_id, status, render_task=task_id)
        if len(batch) == _BATCH:
            await work.enqueue(order.model_copy(update={"after": batch[-1][0]}), priority=_BACKGROUND)
        return queued
