"""A photo's states as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, HTTPException
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from trenza.services.photos.contract import Photo
from trenza.services.photos.routes.access import Service, Viewer
from trenza.services.photos.routes.answers import documented_problems
from trenza.services.photos.routes.bodies import photo_body
from trenza.services.photos.service.changes import SETTLED

__all__ = ["router"]

router = APIRouter()


_LastEventId = Annotated[str | None, Header(description="The `id` of the last event that came: it is not repeated.")]


async def _visible(photos: Service, caller: Viewer, photo_id: UUID, last_event_id: _LastEventId = None) -> Photo:
    """The photo, found before the answer begins: then it can still be a 404, or the 204 that ends a browser's reconnecting."""
    photo = await caller.photo(photos, photo_id)
    if photo.status in SETTLED and last_event_id == _event_id(photo):
        raise HTTPException(204)
    return photo


def _event_id(photo: Photo) -> str:
    """Which state of a photo an event tells of; each attempt's are its own."""
    return f"{photo.status}-{photo.attempts}"


@router.get(
    "/api/photos/{photo_id:uuid}/events",
    response_class=EventSourceResponse,
    summary="Follow a photo",
    responses={
        200: {"description": "An event for each state, named after it, with the photo as JSON; a comment comes every 15 s."},
        204: {"description": "The last event that came was the last that there is: do not connect again."},
        **documented_problems(401, 403, 404, 422),
    },
)
async def follow_photo(
    request: Request,
    photos: Service,
    caller: Viewer,
    found: Annotated[Photo, Depends(_visible)],
    last_event_id: _LastEventId = None,
) -> AsyncIterable[ServerSentEvent]:
    """The state of a photo now and at each change. The stream ends after `completed`, `failed` or `deleted`.

    Where it ends before, because this process is about to stop, connect again: browsers do so by themselves, with
    `Last-Event-ID`, and are told by a 204 when nothing more will come.
    """
    with_original = caller.sees_original_of(found)
    readiness = request.app.state.readiness
    async with aclosing(photos.changes.follow(found.id, while_=lambda: not readiness.draining)) as states:
        async for photo in states:
            if photo is None:
                yield ServerSentEvent(event="deleted", id="deleted", data={"id": str(found.id), "status": "deleted"})
                return
            event_id = _event_id(photo)
            if event_id != last_event_id or photo.status in SETTLED:
                body: dict[str, Any] = (await photo_body(photo, photos, with_original=with_original)).model_dump(mode="json")
                yield ServerSentEvent(event=photo.status, id=event_id, data=body)
