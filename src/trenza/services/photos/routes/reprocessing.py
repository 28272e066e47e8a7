"""Queueing many photos again over HTTP."""

from __future__ import annotations

from typing import Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from trenza.chassis.http.idempotency import fingerprint_of
from trenza.services.photos import rules
from trenza.services.photos.contract import InvalidField, Reprocessing, Status
from trenza.services.photos.routes.access import ManagerOfAll, Service
from trenza.services.photos.routes.answers import IDEMPOTENCY_KEY, documented_problems, json_answer
from trenza.services.photos.routes.bodies import OrderBody

__all__ = ["router"]

router = APIRouter()

_ROUTE: Final = "/api/photos/reprocess"
_STATUSES: Final[dict[str, tuple[Status, ...]]] = {
    "pending": ("queued", "processing"),
    "failed": ("failed",),
    "completed": ("completed",),
}


class ReprocessOrder(OrderBody):
    """Which photos to process again."""

    upid: str | None = Field(None, description="Of this project unit only.")
    status: Literal["pending", "failed", "completed"] | None = Field(
        None, description="`pending` or `failed` only; both by default. `completed` needs `versions: all`."
    )
    versions: Literal["missing", "all"] = Field(
        "missing", description="`all`: completed photos too, for when the presets have changed. Their versions stay until then."
    )


@router.post(
    _ROUTE,
    status_code=202,
    response_model=Reprocessing,
    summary="Process many photos again",
    responses=documented_problems(400, 401, 403, 409, 422),
    openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
)
async def reprocess_photos(request: Request, photos: Service, principal: ManagerOfAll, order: ReprocessOrder) -> Response:
    """Queue photos again in the background: those that failed, and those whose processing was given up.

    `matching` says how many there are now. One that is still going to be processed is not queued twice.
    """
    if order.status == "completed" and order.versions != "all":
        raise InvalidField(
            "completed photos lack no version", field="versions", limit="all", remedy="send versions: all with status: completed"
        )
    wanted = (order.status,) if order.status else ("pending", "failed", *(("completed",) if order.versions == "all" else ()))
    statuses = tuple(status for name in wanted for status in _STATUSES[name])
    upid = None if order.upid is None else rules.read_upid(order.upid)

    async def start() -> Response:
        return json_answer(await photos.reprocess.start(upid=upid, statuses=statuses), 202)

    return await photos.idempotency.run(
        request.headers.get("idempotency-key"),
        principal=principal,
        route=_ROUTE,
        fingerprint=fingerprint_of(order.model_dump_json()),
        produce=start,
    )
