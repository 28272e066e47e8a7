"""Changing over HTTP: deleting a photo, and retrying a failed one."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from trenza.chassis.http.idempotency import fingerprint_of
from trenza.chassis.http.prefer import preferred_wait
from trenza.services.photos.routes.access import Manager, Service
from trenza.services.photos.routes.answers import (
    IDEMPOTENCY_KEY,
    PREFER_WAIT,
    accepted_answer,
    documented_problems,
    failure_as_problem,
)
from trenza.services.photos.routes.bodies import PhotoBody, photo_body
from trenza.services.photos.service import not_found

__all__ = ["router"]

router = APIRouter()

_RETRY: Final = "/api/photos/{photo_id:uuid}/retry"


@router.delete(
    "/api/photos/{photo_id:uuid}",
    status_code=204,
    summary="Delete a photo",
    responses=documented_problems(401, 403, 404, 422),
)
async def delete_photo(photos: Service, caller: Manager, photo_id: UUID) -> None:
    """Make a photo disappear. Deleting it again answers 204 as well; its objects are kept for a retention time."""
    if caller.units is not None and await photos.unit_of(photo_id) not in caller.units:
        raise not_found()
    await photos.delete_photo(photo_id=photo_id)


@router.post(
    _RETRY,
    status_code=202,
    response_model=PhotoBody,
    summary="Retry a failed photo",
    responses={
        201: {"model": PhotoBody, "description": "Processed (with `Prefer: wait=N`)."},
        202: {"description": "Queued again."},
        **documented_problems(400, 401, 403, 404, 409, 413, 422, 504),
    },
    openapi_extra={"parameters": [IDEMPOTENCY_KEY, PREFER_WAIT]},
)
async def retry_photo(request: Request, photos: Service, caller: Manager, photo_id: UUID) -> Response:
    """Queue a failed photo again. 409 for one that has not failed."""
    wait = preferred_wait(request, longest=photos.settings.max_wait_seconds)
    await caller.photo(photos, photo_id)

    async def retry() -> Response:
        photo = await photos.settled(await photos.retry_photo(photo_id=photo_id), timeout=wait.seconds or 0)
        body = await photo_body(photo, photos, with_original=True)
        if photo.status == "failed":
            raise failure_as_problem(body)
        return accepted_answer(201 if photo.status == "completed" else 202, body, wait)

    return await photos.idempotency.run(
        request.headers.get("idempotency-key"),
        principal=caller.principal,
        route=_RETRY,
        fingerprint=fingerprint_of(str(photo_id)),
        produce=retry,
    )
