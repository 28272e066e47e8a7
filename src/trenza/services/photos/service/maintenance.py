"""The maintenance mode: uploads are turned away for a while, everything else goes on."""

from __future__ import annotations

from trenza.chassis.context import current_context
from trenza.chassis.service import Resources
from trenza.services.photos import store
from trenza.services.photos.contract import Maintenance, UnderMaintenance
from trenza.services.photos.settings import PhotosSettings

__all__ = ["MaintenanceMode"]


class MaintenanceMode:
    """Kept in the service's database, so that every replica knows of it from the next upload on."""

    def __init__(self, resources: Resources[PhotosSettings]) -> None:
        self._database = resources.database
        self._clock = resources.clock

    async def state(self) -> Maintenance:
        """How it stands; off when nobody ever switched it."""
        async with self._database.read() as connection:
            return await store.find_maintenance(connection) or Maintenance(enabled=False)

    async def switch(self, *, enabled: bool, retry_after_seconds: int, message: str | None) -> Maintenance:
        """Switch it on (or off) and say what those who are turned away are told."""
        state = Maintenance(
            enabled=enabled,
            retry_after_seconds=retry_after_seconds,
            message=message,
            changed_at=self._clock.now(),
            changed_by=current_context().principal.subject,
        )
        async with self._database.work() as work:
            await store.keep_maintenance(work, state)
        return state

    async def refuse_uploads(self) -> None:
        """Raise `UnderMaintenance` while it is on."""
        state = await self.state()
        if state.enabled:
            words = {} if state.message is None else {"message": state.message}
            raise UnderMaintenance(
                f"No photos are taken in for now; reading goes on. Try again in {state.retry_after_seconds} s.",
                retry_after=state.retry_after_seconds,
                remedy="send it again after Retry-After",
                **words,
            )
