"""Inspections, listed."""

from __future__ import annotations

from inspections.contract import Inspections
from inspections.phrases import PHRASES
from inspections.reactions import REACTIONS
from inspections.routes import ROLES, router
from inspections.service import InspectionsService
from inspections.settings import InspectionsSettings
from inspections.tables import metadata
from inspections.tasks import SCHEDULES, TASKS
from trenza import Service
from trenza.services.photos.contract import Photos

__all__ = ["service"]

service = Service(
    contract=Inspections,
    implementation=InspectionsService,
    settings=InspectionsSettings,
    roles=ROLES,
    uses=(Photos,),
    router=router,
    tables=metadata,
    migrations="inspections.migrations",
    handlers=(*REACTIONS, *TASKS),
    schedules=SCHEDULES,
    phrases=PHRASES,
)
