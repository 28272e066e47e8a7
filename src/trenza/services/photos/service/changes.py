"""Following a photo through its states, as they change."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from trenza.chassis.data import UnitOfWork
from trenza.chassis.service import Resources
from trenza.services.photos import store
from trenza.services.photos.contract import Photo
from trenza.services.photos.settings import PhotosSettings

__all__ = ["SETTLED", "Changes"]

SETTLED: Final = frozenset({"completed", "failed"})
"""The states in which a photo stays unless somebody asks for something."""
_LOOK_SECONDS: Final = 2.0
"""How often one looks by oneself, for what another process does."""


class Changes:
    """Wakes those of this process who follow a photo when it changes here."""

    def __init__(self, resources: Resources[PhotosSettings]) -> None:
        self._database = resources.database
        self._watchers: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)

    def announce(self, work: UnitOfWork, photo_id: UUID) -> None:
        """Wake the followers of a photo once this unit of work is stored; they look for themselves."""
        work.on_commit(lambda: self._wake(photo_id))

    async def follow(self, photo_id: UUID, *, while_: Callable[[], bool]) -> AsyncGenerator[Photo | None]:
        """The photo as it is now and after each change, until it is settled, or gone (None), or ``while_`` says no."""
        seen: tuple[str, int] | None = None
        with self._watching(photo_id) as changed:
            while while_():
                changed.clear()
                async with self._database.read() as connection:
                    photo = await store.find(connection, photo_id)
                if photo is None:
                    yield None
                    return
                if seen != (photo.status, photo.attempts):
                    seen = (photo.status, photo.attempts)
                    yield photo
                if photo.status in SETTLED:
                    return
                await _wait(changed)

    @contextmanager
    def _watching(self, photo_id: UUID) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._watchers[photo_id].add(event)
        try:
            yield event
        finally:
            self._watchers[photo_id].discard(event)
            if not self._watchers[photo_id]:
                del self._watchers[photo_id]

    def _wake(self, photo_id: UUID) -> None:
        for event in self._watchers.get(photo_id, ()):
            event.set()


async def _wait(changed: asyncio.Event) -> None:
    """Until something has changed here, or it is time to look."""
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            await changed.wait()
    except TimeoutError:
        return
