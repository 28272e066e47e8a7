"""The routes of signed URLs for objects in the local folder; on S3 the bucket serves its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request, Response

from trenza.chassis.auth.permissions import public
from trenza.chassis.blobs import Blobs
from trenza.chassis.blobs.media_types import media_type_of
from trenza.chassis.blobs.presigned import content_disposition
from trenza.chassis.blobs.signatures import BLOB_PATH
from trenza.chassis.http.content import respond_with_blob
from trenza.chassis.http.documentation import documented_problems
from trenza.chassis.http.limits import BodyTooLarge, allow_body
from trenza.chassis.http.phrases import Refusal

__all__ = ["DEFAULT_PUT_BYTES", "WrongLength", "blob_router"]

DEFAULT_PUT_BYTES = 100 * 1024 * 1024
_BATCH_BYTES = 512 * 1024
_PUBLIC = public("the signature in the URL is the permission, for one object and one method until a moment")
# An object may be any file that somebody uploaded, HTML too: it must not act in the platform's name.
_HARMLESS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}

Parameter = Annotated[str | None, Query()]


class WrongLength(Refusal):
    """The link was signed for a body of another length."""

    status: ClassVar[int] = 422
    title = "Not as long as promised"


def object_paths(service: str) -> tuple[str, ...]:
    """Where signed links to a service's objects lead: their keys begin with its name, or with ``uploads/`` before it."""
    return f"{BLOB_PATH}{service}", f"{BLOB_PATH}uploads/{service}"


def blob_router(blobs: Blobs, *, max_put_bytes: int = DEFAULT_PUT_BYTES) -> APIRouter:
    """``GET``, ``HEAD`` and ``PUT /blobs/{key}?expires=…&signature=…``; no routes where the store serves its own URLs.

    A URL that was signed for GET serves HEAD too. A PUT stores its body, at most ``max_put_bytes`` long, under the media type of
    the key's extension, and answers 200 with the ETag, as S3 does. A URL that was signed with a length takes a body of exactly
    that length, above ``max_put_bytes`` too; 422 for another. 403 for a signature that is missing, wrong or expired; 409 for a
    link that a service takes no more by (`UrlSigner.guard_puts`).
    """
    router = APIRouter(tags=["objects"])
    signer = blobs.url_signer
    if signer is None:
        return router
    path = f"{BLOB_PATH}{{key:path}}"

    async def get(
        request: Request, key: str, expires: Parameter = None, signature: Parameter = None, download: Parameter = None
    ) -> Response:
        """Serve one object, whole or in part."""
        left = signer.verify(method="GET", key=key, expires=expires, signature=signature, download_name=download)
        response = await respond_with_blob(
            request,
            blobs,
            key,
            media_type=media_type_of(key),
            filename=download,
            cache_control=f"private, max-age={int(left.total_seconds())}",
        )
        response.headers.update(_HARMLESS)
        if download:
            response.headers["Content-Disposition"] = content_disposition(download)
        return response

    async def head(
        request: Request, key: str, expires: Parameter = None, signature: Parameter = None, download: Parameter = None
    ) -> Response:
        """Tell the headers of one object."""
        return await get(request, key, expires, signature, download)

    async def put(
        request: Request,
        key: str,
        *,
        expires: Parameter = None,
        signature: Parameter = None,
        download: Parameter = None,
        length: Parameter = None,
    ) -> Response:
        """Store one object."""
        signer.verify(method="PUT", key=key, expires=expires, signature=signature, download_name=download, length=length)
        await signer.check_put(key)
        promised = None if length is None else int(length)
        spooled = blobs.new_spool_file()
        try:
            if promised is None:
                await _receive(request, spooled, max_put_bytes)
            else:
                await _receive_exactly(request, spooled, promised)
            await signer.check_put(key)  # receiving it took a while
            stored = await blobs.put_file(key, spooled, media_type=media_type_of(key))
        finally:
            await asyncio.to_thread(spooled.unlink, missing_ok=True)
        return Response(headers={"ETag": stored.etag})

    read = documented_problems(403, 404, 412)
    whole: dict[str, Any] = {"description": "The object; ranges and conditions are honoured.", "content": {"*/*": {}}}
    router.add_api_route(
        path,
        get,
        methods=["GET"],
        summary="Fetch an object by its signed link",
        dependencies=[_PUBLIC],
        response_class=Response,
        responses={200: whole, 206: {"description": "The range asked for."}, **read, **documented_problems(416)},
    )
    router.add_api_route(path, head, methods=["HEAD"], dependencies=[_PUBLIC], response_class=Response, responses=read)
    router.add_api_route(
        path,
        put,
        methods=["PUT"],
        summary="Store an object by its signed link",
        dependencies=[_PUBLIC],
        response_class=Response,
        responses=documented_problems(403, 404, 409, 413, 422, 503),
        openapi_extra={"requestBody": {"required": True, "content": {"*/*": {}}}},
    )
    return router


async def _receive_exactly(request: Request, path: Path, length: int) -> None:
    """Write the body to a file. Raises `WrongLength`: at once where Content-Length says so, else as soon as it is known."""
    refusal = WrongLength(field="Content-Length", limit=length)
    if _declared(request) not in (None, length):
        raise refusal
    try:
        received = await _receive(request, path, length)
    except BodyTooLarge:
        raise refusal from None
    if received != length:
        raise refusal


def _declared(request: Request) -> int | None:
    """The length that the request's header tells, if it does."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else None


async def _receive(request: Request, path: Path, limit: int) -> int:
    """Write the body to a file in batches; how many bytes it had. Raises `BodyTooLarge` as soon as it is."""
    allow_body(request, limit)
    if (_declared(request) or 0) > limit:
        raise BodyTooLarge(limit)
    with await asyncio.to_thread(path.open, "xb") as file:
        batch, received = bytearray(), 0
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise BodyTooLarge(limit)
            batch += chunk
            if len(batch) >= _BATCH_BYTES:
                await asyncio.to_thread(file.write, batch)
                batch = bytearray()
        await asyncio.to_thread(file.write, batch)
    return received
