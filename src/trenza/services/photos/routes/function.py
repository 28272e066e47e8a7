"""The function URL: one photo within JSON, answered with its versions, as a function of its own would be called."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from typing import Final

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from trenza.chassis.contract import ContractError
from trenza.chassis.http.idempotency import fingerprint_of
from trenza.chassis.http.json_bodies import expect_json, refuse_unsound
from trenza.chassis.http.limits import BodyTooLarge, allow_body
from trenza.chassis.http.prefer import Wait, preferred_wait
from trenza.services.photos.contract import InlineTooLarge, InvalidBase64
from trenza.services.photos.routes.access import Editor, Service
from trenza.services.photos.routes.answers import (
    IDEMPOTENCY_KEY,
    PREFER_WAIT,
    documented_problems,
    failure_as_problem,
    json_answer,
)
from trenza.services.photos.routes.bodies import FunctionResult, photo_body
from trenza.services.photos.routes.forms import DetailsOrder
from trenza.services.photos.rules import UploadDetails
from trenza.services.photos.service import IncomingFile, PhotosService

__all__ = ["router"]

router = APIRouter()

_LIMIT: Final = 4_718_592
"""Bytes of the body, 4.5 MB: what a function behind an API gateway is sure to take in."""
_WAIT_SECONDS: Final = 25
"""A function answers when it is done; gateways in front of one give up after 29 seconds."""
_HEAD_BYTES: Final = 64
_FIELD: Final = "image_base64"
_URL_ALPHABET: Final = str.maketrans("-_", "+/")


class FunctionOrder(DetailsOrder):
    """A photo within JSON."""

    image_base64: str = Field(
        description="The file in base64 (either alphabet of RFC 4648), with or without a `data:…;base64,` before it."
    )


_SCHEMA = FunctionOrder.model_json_schema(ref_template="#/components/schemas/{model}")
_SCHEMA.pop("$defs", None)  # FastAPI finds these in the direct upload's order, and puts them where the references look


@router.post(
    "/",
    status_code=201,
    response_model=FunctionResult,
    summary="Process one photo within JSON",
    responses={
        200: {"model": FunctionResult, "description": "The same bytes are there already under this UPID."},
        201: {"description": "Stored and processed."},
        202: {"model": FunctionResult, "description": "Stored; processing takes longer than the wait."},
        **documented_problems(400, 401, 403, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra={
        "parameters": [IDEMPOTENCY_KEY, PREFER_WAIT],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}},
    },
)
async def process_photo(request: Request, photos: Service, caller: Editor) -> Response:
    """Store a photo, wait for its versions (25 s, or as `Prefer: wait=N` says), and answer with them.

    The body may have 4.5 MB; larger photos go by `POST /api/photos/uploads` or `POST /api/photos/upload`.
    """
    await photos.maintenance.refuse_uploads()
    body = await _body(request)
    order = _read(body)
    details = caller.placed(order.details(photos.settings))
    content = _decoded(order.image_base64)
    wait = preferred_wait(request, longest=photos.settings.max_wait_seconds)
    return await photos.idempotency.run(
        request.headers.get("idempotency-key"),
        principal=caller.principal,
        route="/",
        fingerprint=fingerprint_of(body),
        produce=lambda: _process(photos, content, order.filename, details, wait),
    )


async def _process(photos: PhotosService, content: bytes, filename: str | None, details: UploadDetails, wait: Wait) -> Response:
    path = photos.blobs.new_spool_file()
    try:
        await asyncio.to_thread(path.write_bytes, content)
        digest = hashlib.sha256(content).hexdigest()
        file = IncomingFile(path=path, filename=filename or "", size=len(content), sha256=digest, head=content[:_HEAD_BYTES])
        accepted = await photos.uploads.accept(file, details)
    except ContractError as refusal:
        if "field" in refusal.fields:
            refusal.fields["field"] = _FIELD  # what is wrong with the file is wrong with what came in this field
        raise
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    timeout = min(_WAIT_SECONDS, photos.settings.max_wait_seconds) if wait.seconds is None else wait.seconds
    photo = await photos.settled(accepted.photo, timeout=timeout)
    body = await photo_body(photo, photos, with_original=False)
    if photo.status == "failed":
        raise failure_as_problem(body)
    status = 202 if photo.status != "completed" else 201 if accepted.created else 200
    result = FunctionResult(photo_id=photo.id, upid=photo.upid, status=photo.status, versions=body.versions)
    return json_answer(result, status, {"Location": f"/api/photos/{photo.id}", **wait.headers})


async def _body(request: Request) -> bytes:
    """The body, which is small enough to be held in memory. Raises `JsonExpected` and `InlineTooLarge`."""
    expect_json(request)
    allow_body(request, _LIMIT)
    try:
        return await request.body()
    except BodyTooLarge as error:
        raise InlineTooLarge(
            f"the body may have at most 4.5 MB ({_LIMIT} bytes) here",
            field=_FIELD,
            limit=_LIMIT,
            remedy="use the direct upload, POST /api/photos/uploads",
        ) from error


def _read(body: bytes) -> FunctionOrder:
    try:
        order = FunctionOrder.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in error.errors()]) from error
    refuse_unsound(order.model_dump(exclude={_FIELD}))
    return order


def _decoded(text: str) -> bytes:
    """The bytes of a file in base64, as clients write it: on one line or several, in either alphabet, padded or not."""
    letters = "".join(text.split())
    if letters[:5].lower() == "data:":
        kind, _, letters = letters.partition(",")
        if not kind.lower().endswith(";base64"):
            raise _no_base64("the data: URL in image_base64 is not in base64", "write it like data:image/jpeg;base64,…")
    letters = letters.rstrip("=").translate(_URL_ALPHABET)
    if not letters:
        raise _no_base64("image_base64 is empty", "send the file's bytes, encoded")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _no_base64("image_base64 is not base64", "encode the file's bytes") from None


def _no_base64(detail: str, remedy: str) -> InvalidBase64:
    return InvalidBase64(detail, field=_FIELD, limit="RFC 4648", remedy=remedy)
