"""A service of another distribution that hears of completed photos, so that events have somewhere to go."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from pydantic_settings import BaseSettings

from trenza import Contract, Delivery, Resources, Service, operation, reacts
from trenza.services.photos.contract import PhotoCompleted


class Logbook(Contract, service="logbook"):
    """Notes what happens to photos."""

    @operation(idempotent=True)
    @abstractmethod
    async def look(self) -> None:
        """Do nothing: what it has heard is in its inbox."""


class LogbookKeeper(Logbook):
    """Keeps the logbook."""

    def __init__(self, resources: Resources[Any]) -> None:
        del resources

    async def look(self) -> None:
        """Do nothing."""


class NoSettings(BaseSettings):
    """Nothing to set."""


@reacts(PhotoCompleted)
async def hear(_logbook: LogbookKeeper, _event: PhotoCompleted, delivery: Delivery) -> None:
    """Mark as handled, together with nothing else."""
    async with delivery.finish():
        pass


service = Service(contract=Logbook, implementation=LogbookKeeper, settings=NoSettings, handlers=(hear,))
