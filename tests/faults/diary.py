"""A service of another distribution that hears of completed photos, so that events have somewhere to go."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from pydantic_settings import BaseSettings

from trenza import Contract, Delivery, Resources, Service, operation, reacts
from trenza.services.photos.contract import PhotoCompleted


class Diary(Contract, service="diary"):
    """Notes what happens to photos."""

    @operation(idempotent=True)
    @abstractmethod
    async def look(self) -> None:
        """Do nothing: what it has heard is in its inbox."""


class DiaryKeeper(Diary):
    """Keeps the diary."""

    def __init__(self, resources: Resources[Any]) -> None:
        del resources

    async def look(self) -> None:
        """Do nothing."""


class NoSettings(BaseSettings):
    """Nothing to set."""


@reacts(PhotoCompleted)
async def hear(_diary: DiaryKeeper, _event: PhotoCompleted, delivery: Delivery) -> None:
    """Mark as handled, together with nothing else."""
    async with delivery.finish():
        pass


service = Service(contract=Diary, implementation=DiaryKeeper, settings=NoSettings, handlers=(hear,))
