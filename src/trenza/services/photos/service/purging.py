"""Removing what nobody can see any more: deleted photos after their retention, and objects that no record knows."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from trenza.chassis.service import Resources
from trenza.chassis.telemetry.logs import get_logger
from trenza.services.photos import rules, store
from trenza.services.photos.settings import PhotosSettings

__all__ = ["Purge"]

_log = get_logger(__name__)

_BATCH: Final = 100
_KEYS_AT_ONCE: Final = 500


class Purge:
    """Cleans up behind deletions and crashes."""

    def __init__(self, resources: Resources[PhotosSettings]) -> None:
        self._database = resources.database
        self._blobs = resources.blobs
        self._clock = resources.clock
        self._retention = timedelta(days=resources.settings.deleted_retention_days)
        self._grace = timedelta(hours=resources.settings.orphan_grace_hours)

    async def deleted(self) -> int:
        """Remove photos that were deleted longer ago than the retention, objects first; returns how many.

        A crash in between leaves records whose objects are gone, and the next run takes those.
        """
        purged = 0
        while True:
            async with self._database.read() as connection:
                gone = await store.deleted_before(connection, self._clock.now() - self._retention, _BATCH)
            if not gone:
                return purged
            for photo_id, upid in gone.items():
                await self._blobs.delete(*[stat.key async for stat in self._blobs.list(rules.object_folder(upid, photo_id))])
            async with self._database.work() as work:
                await store.forget_photos(work, gone)
            purged += len(gone)

    async def orphans(self) -> int:
        """Remove objects older than the grace that belong to no photo; returns how many.

        They are left by a crash between storing and recording, and by versions that are no longer made. With no record at all,
        nothing is removed: then it is rather the database that is missing.
        """
        async with self._database.read() as connection:
            if not await store.any_photo(connection):
                _log.warning("no orphans are looked for: there is no record of any photo")
                return 0
        swept = 0
        suspects: dict[str, UUID] = {}
        before = self._clock.now() - self._grace
        async for stat in self._blobs.list(rules.OBJECTS):
            photo_id = rules.photo_of_key(stat.key)
            if photo_id is not None and stat.modified < before:
                suspects[stat.key] = photo_id
            if len(suspects) >= _KEYS_AT_ONCE:
                swept += await self._sweep(suspects)
                suspects = {}
        return swept + await self._sweep(suspects)

    async def _sweep(self, suspects: dict[str, UUID]) -> int:
        async with self._database.read() as connection:
            known = await store.known_objects(connection, frozenset(suspects.values()))
        orphans = [key for key, photo_id in suspects.items() if photo_id not in known or not known[photo_id].holds(key)]
        await self._blobs.delete(*orphans)
        return len(orphans)
