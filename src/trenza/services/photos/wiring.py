"""Photos, listed."""

from __future__ import annotations

from trenza.chassis.service import Service
from trenza.services.images.contract import Images
from trenza.services.photos.contract import Photos
from trenza.services.photos.phrases import PHRASES
from trenza.services.photos.routes import router
from trenza.services.photos.routes.access import ROLES
from trenza.services.photos.service import PhotosService
from trenza.services.photos.settings import PhotosSettings
from trenza.services.photos.tables import metadata
from trenza.services.photos.tasks import HANDLERS, SCHEDULES

__all__ = ["service"]

service = Service(
    contract=Photos,
    implementation=PhotosService,
    settings=PhotosSettings,
    roles=ROLES,
    uses=(Images,),
    router=router,
    tables=metadata,
    migrations="trenza.services.photos.migrations",
    handlers=HANDLERS,
    schedules=SCHEDULES,
    phrases=PHRASES,
)
