"""The answers that several routes of photos give, and their description for OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from starlette.responses import Response

from trenza.chassis.http.documentation import documented_problems
from trenza.chassis.http.prefer import Wait
from trenza.chassis.http.problem import Problem
from trenza.services.images.contract import Images, ImageTooLarge, InvalidImageFormat, ProcessingTimeout
from trenza.services.photos.routes.bodies import PhotoBody

__all__ = ["IDEMPOTENCY_KEY", "PREFER_WAIT", "accepted_answer", "documented_problems", "failure_as_problem", "json_answer"]

_FAILURES: Final = {refusal.code: refusal for refusal in Images.operations["render"].errors}
_REMEDIES: Final = {
    InvalidImageFormat.code: "send the complete file, as the camera or the program saved it",
    ImageTooLarge.code: "scale it down, and send it again",
    ProcessingTimeout.code: "scale it down, or save it as an ordinary JPEG, and send it again",
}
_ANY_OTHER_REMEDY: Final = "try again (POST /api/photos/{photo_id}/retry); if it fails again, save the image anew and send that"


def accepted_answer(status: int, photo: PhotoBody, wait: Wait) -> Response:
    """The answer to a request that made (or found) one photo: the photo, and where it lives from now on."""
    return json_answer(photo, status, {"Location": f"/api/photos/{photo.id}", **wait.headers})


def json_answer(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A body as JSON. Nobody but the client may keep it: it holds links that work for whoever has them."""
    content = body.model_dump_json(exclude_unset=True)
    return Response(content, status, {"Cache-Control": "private, no-store", **(headers or {})}, "application/json")


def failure_as_problem(photo: PhotoBody) -> Problem:
    """What somebody who waited for a photo is told when it failed: the refusal that it met, and the photo as ``photo``."""
    failure = photo.error
    if failure is None:
        raise ValueError("only a failed photo is a problem")
    known = _FAILURES.get(failure.code)
    return Problem(
        known.status if known else HTTPStatus.UNPROCESSABLE_ENTITY,
        failure.code,
        title=known.title if known else "Processing failed",
        detail=failure.detail,
        headers={"Location": f"/api/photos/{photo.id}"},
        field="file",
        remedy=_REMEDIES.get(failure.code, _ANY_OTHER_REMEDY.format(photo_id=photo.id)),
        photo=photo.model_dump(mode="json"),
    )


IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "description": "The same request sent again with the same key gets the first answer again, for 24 hours.",
}
PREFER_WAIT: Final[dict[str, Any]] = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string", "pattern": "wait=[0-9]+"},
    "example": "wait=30",
    "description": "`wait=N`: answer once processing has ended, or after N seconds.",
}
