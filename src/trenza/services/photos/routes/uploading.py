"""Uploading over HTTP: one file or several, answered at once or after a wait."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from trenza.chassis.http.idempotency import fingerprint_of
from trenza.chassis.http.prefer import Wait, preferred_wait
from trenza.chassis.http.problem import problem_response
from trenza.chassis.http.uploads import ReceivedFile, ReceivedForm, receive_form
from trenza.services.photos.routes.access import Editor, Service
from trenza.services.photos.routes.answers import (
    IDEMPOTENCY_KEY,
    PREFER_WAIT,
    accepted_answer,
    documented_problems,
    failure_as_problem,
    json_answer,
)
from trenza.services.photos.routes.bodies import PhotoBody, UploadResult, UploadResults, photo_body
from trenza.services.photos.routes.forms import UPLOAD_FORM, incoming, read_form
from trenza.services.photos.rules import UploadDetails
from trenza.services.photos.service import Accepted, PhotosService

__all__ = ["outcome", "router"]

router = APIRouter()

_ROUTE: Final = "/api/photos/upload"
_MULTI_STATUS: Final = 207
_AT_ONCE: Final = 4
"""Files of one request that are stored at the same time: enough to hide the latency of remote storage."""


@router.post(
    _ROUTE,
    status_code=202,
    response_model=PhotoBody,
    summary="Upload photos",
    responses={
        200: {
            "model": PhotoBody,
            "description": "The same bytes are there already under this UPID: the existing photo as it is.",
        },
        201: {"model": PhotoBody, "description": "Stored and processed (with `Prefer: wait=N`)."},
        202: {"description": "Stored; its versions are being made."},
        207: {"model": UploadResults, "description": "Several files: one result for each, in the order of the files."},
        **documented_problems(400, 401, 403, 408, 409, 413, 415, 422, 500, 503, 504),
    },
    openapi_extra={**UPLOAD_FORM, "parameters": [IDEMPOTENCY_KEY, PREFER_WAIT]},
)
async def upload_photos(request: Request, photos: Service, caller: Editor) -> Response:
    """Store one to twenty photos of a project unit and queue the making of their versions.

    The answer is the photo itself for one file, and `{"results": […]}` for several: a bad one does not spoil the others.
    """
    await photos.maintenance.refuse_uploads()
    settings = photos.settings
    async with await receive_form(
        request, spool=photos.blobs.new_spool_file, max_file_bytes=settings.max_file_bytes, max_files=settings.max_files
    ) as form:
        details = caller.placed(read_form(form, settings))
        upload = _Upload(request, photos, details, preferred_wait(request, longest=settings.max_wait_seconds))
        return await photos.idempotency.run(
            request.headers.get("idempotency-key"),
            principal=caller.principal,
            route=_ROUTE,
            fingerprint=_fingerprint(form),
            produce=lambda: upload.one(form.files[0]) if len(form.files) == 1 else upload.several(form.files),
            lasting=lambda: not upload.faults,  # sent again under its key, the files that we failed get another chance
        )


def _fingerprint(form: ReceivedForm) -> str:
    fields = [part for name in sorted(form.fields) for part in (name, form.fields[name])]
    return fingerprint_of(*fields, *(part for file in form.files for part in (file.filename, str(file.size), file.sha256)))


@dataclass(frozen=True)
class _Upload:
    """One request to upload, read as far as the files."""

    request: Request
    photos: PhotosService
    details: UploadDetails
    wait: Wait
    faults: list[str] = field(default_factory=list)
    """The names of files that were not taken in through a fault of this side."""

    async def one(self, file: ReceivedFile) -> Response:
        """The answer for a single file; its refusal is raised."""
        accepted = await self.photos.uploads.accept(incoming(file), self.details)
        status, photo = await outcome(self.photos, accepted, self.wait)
        return accepted_answer(status, photo, self.wait)

    async def several(self, files: tuple[ReceivedFile, ...]) -> Response:
        """The answer for several files."""
        places = asyncio.Semaphore(_AT_ONCE)
        turns = {file.sha256: asyncio.Lock() for file in files}  # of the same bytes the first file makes the photo
        results = await asyncio.gather(*(self._result(file, places, turns[file.sha256]) for file in files))
        return json_answer(UploadResults(results=list(results)), _MULTI_STATUS, self.wait.headers)

    async def _result(self, file: ReceivedFile, places: asyncio.Semaphore, turn: asyncio.Lock) -> UploadResult:
        try:
            async with turn, places:
                accepted = await self.photos.uploads.accept(incoming(file), self.details)
            status, photo = await outcome(self.photos, accepted, self.wait)
        except Exception as error:  # noqa: BLE001 - told as the problem that it would be alone, and logged there if it is ours
            response = problem_response(self.request, error)
            problem: dict[str, Any] = orjson.loads(bytes(response.body))
            if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR and "photo" not in problem:
                self.faults.append(file.filename)
            return UploadResult(filename=file.filename, status=response.status_code, problem=problem)
        return UploadResult(filename=file.filename, status=status, photo=photo)


async def outcome(photos: PhotosService, accepted: Accepted, wait: Wait) -> tuple[int, PhotoBody]:
    """The status and the photo that answer an upload, after the preferred wait. Raises the problem of one that has failed."""
    photo = await photos.settled(accepted.photo, timeout=wait.seconds or 0)
    body = await photo_body(photo, photos, with_original=True)
    if photo.status == "failed":  # now, or when the same bytes came before
        raise failure_as_problem(body)
    if not accepted.created:
        return 200, body
    return (201 if photo.status == "completed" else 202), body
