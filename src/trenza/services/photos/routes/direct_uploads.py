"""Direct uploads over HTTP: asking for a link to put a file to, and completing what was put."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from trenza.chassis.http.idempotency import fingerprint_of
from trenza.chassis.http.prefer import preferred_wait
from trenza.services.photos.routes.access import Editor, Service
from trenza.services.photos.routes.answers import (
    IDEMPOTENCY_KEY,
    PREFER_WAIT,
    accepted_answer,
    documented_problems,
    json_answer,
)
from trenza.services.photos.routes.bodies import AnswerBody, PhotoBody
from trenza.services.photos.routes.forms import DetailsOrder
from trenza.services.photos.routes.uploading import outcome

__all__ = ["router"]

router = APIRouter()

_UPLOADS: Final = "/api/photos/uploads"
_COMPLETE: Final = "/api/photos/uploads/{upload_id:uuid}/complete"


class DirectUploadOrder(DetailsOrder):
    """A file that is going to be put."""

    bytes: int = Field(ge=1, description="The file's size.")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)] | None = Field(
        None, description="Of the file, in hexadecimal; verified when it is given."
    )


class DirectUploadBody(AnswerBody):
    """Where to put the file."""

    id: UUID
    method: Literal["PUT"]
    url: str = Field(
        description="Takes this one file, of just so many bytes, until it expires or the upload is completed; "
        "send `Content-Length`, and no token."
    )
    expires_at: datetime
    headers: dict[str, str] = Field(description="To send with the file.")


@router.post(
    _UPLOADS,
    status_code=201,
    response_model=DirectUploadBody,
    summary="Ask for a direct upload",
    responses=documented_problems(400, 401, 403, 409, 413, 422, 503),
    openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
)
async def start_upload(request: Request, photos: Service, caller: Editor, order: DirectUploadOrder) -> Response:
    """A link to put one large file straight into the object store. Then call `…/complete`."""
    await photos.maintenance.refuse_uploads()
    details = caller.placed(order.details(photos.settings))

    async def start() -> Response:
        upload, url = await photos.direct_uploads.start(details, filename=order.filename, size=order.bytes, sha256=order.sha256)
        headers = {"Content-Type": "application/octet-stream"}
        return json_answer(
            DirectUploadBody(id=upload.id, method="PUT", url=url, expires_at=upload.expires_at, headers=headers), 201
        )

    return await photos.idempotency.run(
        request.headers.get("idempotency-key"),
        principal=caller.principal,
        route=_UPLOADS,
        fingerprint=fingerprint_of(order.model_dump_json()),
        produce=start,
    )


@router.post(
    _COMPLETE,
    status_code=202,
    response_model=PhotoBody,
    summary="Complete a direct upload",
    responses={
        200: {"model": PhotoBody, "description": "The photo is there already: completed before, or the same bytes."},
        201: {"model": PhotoBody, "description": "Stored and processed (with `Prefer: wait=N`)."},
        202: {"description": "Stored; its versions are being made."},
        **documented_problems(400, 401, 403, 404, 409, 413, 422, 503),
    },
    openapi_extra={"parameters": [IDEMPOTENCY_KEY, PREFER_WAIT]},
)
async def complete_upload(request: Request, photos: Service, caller: Editor, upload_id: UUID) -> Response:
    """Make a photo of the file that was put: its size, its SHA-256 and its header are verified first."""
    await photos.maintenance.refuse_uploads()
    wait = preferred_wait(request, longest=photos.settings.max_wait_seconds)

    async def complete() -> Response:
        status, body = await outcome(photos, await photos.direct_uploads.complete(upload_id, units=caller.units), wait)
        return accepted_answer(status, body, wait)

    return await photos.idempotency.run(
        request.headers.get("idempotency-key"),
        principal=caller.principal,
        route=_COMPLETE,
        fingerprint=fingerprint_of(str(upload_id)),
        produce=complete,
    )
