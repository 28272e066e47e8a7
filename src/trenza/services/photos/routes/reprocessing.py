"""Queueing many photos again over HTTP."""

from __future__ import annotations

from typing import Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from trenza.services.photos import rules
from trenza.services.photos.contract import InvalidField, Reprocessing, Status
from trenza.services.photos.routes.access import ManagerOfAll, Service
from trenza.services.photos.routes.answers import documented_problems

__all__ = ["router"]

router = APIRouter()

_STATUSES: Final[dict[str, tuple[Status, ...]]] = {
    "pending": ("queued", "processing"),
    "failed": ("failed",),
    "completed": ("completed",),
}


class ReprocessOrder(BaseModel):
    """Which photos to process again."""

    model_config = ConfigDict(extra="forbid")

    upid: str | None = Field(None, description="Of this project unit only.")
    status: Literal["pending", "failed", "completed"] | None = Field(
        None, description="`pending` or `failed` only; both by default. `completed` needs `versions: all`."
    )
    versions: Literal["missing", "all"] = Field(
        "missing", description="`all`: completed photos too, for when the presets have changed. Their versions stay until then."
    )


@router.post(
    "/api/photos/reprocess",
    status_code=202,
    summary="Process many photos again",
    responses=documented_problems(401, 403, 422),
)
async def reprocess_photos(photos: Service, _principal: ManagerOfAll, order: ReprocessOrder) -> Reprocessing:
    """Queue photos again in the background: those that failed, and those whose processing was given up.

    `matching` says how many there are now. One that is still going to be processed is not queued twice.
    """
    if order.status == "completed" and order.versions != "all":
        raise InvalidField(
            "completed photos lack no version", field="versions", limit="all", remedy="send versions: all with status: completed"
        )
    wanted = (order.status,) if order.status else ("pending", "failed", *(("completed",) if order.versions == "all" else ()))
    statuses = tuple(status for name in wanted for status in _STATUSES[name])
    return await photos.reprocess.start(upid=None if order.upid is None else rules.read_upid(order.upid), statuses=statuses)
