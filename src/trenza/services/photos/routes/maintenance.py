"""The maintenance mode over HTTP: how it stands, and switching it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from trenza.services.photos.contract import Maintenance
from trenza.services.photos.routes.access import Admin, Service, Viewer
from trenza.services.photos.routes.answers import documented_problems
from trenza.services.photos.routes.bodies import OrderBody

__all__ = ["router"]

router = APIRouter()

_PATH = "/api/photos/maintenance"


class MaintenanceOrder(OrderBody):
    """What to switch."""

    enabled: bool = Field(description="Whether uploads are turned away.")
    retry_after_seconds: int = Field(300, ge=1, le=7 * 24 * 3600, description="What `Retry-After` tells them.")
    message: (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00]*$")] | None
    ) = Field(None, description="Your own words, told as `message`.")


@router.get(_PATH, summary="The maintenance mode", responses=documented_problems(401, 403))
async def show_maintenance(photos: Service, _caller: Viewer) -> Maintenance:
    """Whether uploads are turned away now, since when, and by whom."""
    return await photos.maintenance.state()


@router.put(_PATH, summary="Switch the maintenance mode", responses=documented_problems(401, 403, 422))
async def switch_maintenance(photos: Service, _principal: Admin, order: MaintenanceOrder) -> Maintenance:
    """Turn uploads away with 503 and Retry-After, on every replica, until it is switched off again; reading goes on."""
    return await photos.maintenance.switch(
        enabled=order.enabled, retry_after_seconds=order.retry_after_seconds, message=order.message
    )
