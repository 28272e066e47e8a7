"""The form of an upload: its fields read, and its description for OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import Field

from trenza.chassis.http.uploads import ReceivedFile, ReceivedForm
from trenza.services.images.contract import Location
from trenza.services.photos import rules
from trenza.services.photos.contract import FileMissing, InvalidField, Stage
from trenza.services.photos.routes.bodies import OrderBody
from trenza.services.photos.rules import UploadDetails
from trenza.services.photos.service import IncomingFile
from trenza.services.photos.settings import PhotosSettings
from trenza.services.photos.webhooks.addresses import refuse_internal

__all__ = ["UPLOAD_FORM", "DetailsOrder", "incoming", "read_details", "read_form"]

_FILE: Final = "file"
_CALLBACK_WORDS: Final = "Gets a signed POST when the photo is completed, has failed or is deleted (docs/webhooks.md)."
_UNIT_WORDS: Final = "The organisation unit that it belongs to; by default the caller's own, where they are restricted to one."
_FIELDS: Final = ("upid", "stage", "description", "taken_at", "location", "callback_url", rules.UNIT_FIELD)


def read_form(form: ReceivedForm, settings: PhotosSettings) -> UploadDetails:
    """What the fields say. Raises `InvalidField` for the first that is not acceptable, and `FileMissing`.

    A field that nobody reads is refused, not skipped: a misspelt ``stage`` would be lost without anybody noticing.
    """
    if _FILE in form.fields:
        remedy = 'give the part its filename="…"'
        raise InvalidField("the part file does not say that it is a file", field=_FILE, limit='filename="…"', remedy=remedy)
    for name in form.fields.keys() - set(_FIELDS):
        known = ", ".join((_FILE, *_FIELDS))
        raise InvalidField(
            f"there is no field {name[:64]!r}", field=name[:64], limit=known, remedy="correct its name or leave it out"
        )
    for file in form.files:
        if file.field != _FILE:
            remedy = "send each photo in a field named 'file'"
            raise InvalidField(f"a file came in the field {file.field[:64]!r}", field=file.field[:64], limit=_FILE, remedy=remedy)
    if not form.files:
        raise FileMissing("the form holds no file", field=_FILE, limit="at least one", remedy="send a photo in the field 'file'")
    return read_details(form.fields, settings)


def read_details(fields: Mapping[str, str | None], settings: PhotosSettings) -> UploadDetails:
    """What is said about the photos of an upload. Raises `InvalidField` for the first field that is not acceptable."""
    callback = rules.read_callback(fields.get("callback_url"))
    if callback is not None:
        refuse_internal(callback, settings.webhook_reach)
    return UploadDetails(
        upid=rules.read_upid(fields.get("upid")),
        stage=rules.read_stage(fields.get("stage")),
        description=rules.read_description(fields.get("description")),
        taken_at=rules.read_moment(fields.get("taken_at"), field="taken_at", zone=settings.zone),
        location=rules.read_location(fields.get("location")),
        callback_url=callback,
        unit=rules.read_unit(fields.get(rules.UNIT_FIELD)),
    )


class DetailsOrder(OrderBody):
    """What is said about a photo that comes in another way than by a form: the same fields, as JSON."""

    upid: str = Field(description="1 to 64 of letters, digits, `-` and `_`.", examples=["UNP-1978"])
    stage: str | None = Field(None, description="`antes`, `durante` or `despues`.")
    description: str | None = Field(None, description=f"At most {rules.DESCRIPTION_LIMIT} characters.")
    taken_at: str | None = Field(None, description="When it was taken, ISO 8601; wins over the camera's.")
    location: Location | str | None = Field(None, description="`lat,lon`, or an object; wins over the camera's.")
    centro_gestor: str | None = Field(None, description=_UNIT_WORDS)
    callback_url: str | None = Field(None, description=_CALLBACK_WORDS)
    filename: str | None = Field(None, description="What the file is called.")

    def details(self, settings: PhotosSettings) -> UploadDetails:
        """The same, read. Raises `InvalidField`."""
        place = self.location.model_dump_json() if isinstance(self.location, Location) else self.location
        return read_details({**self.model_dump(exclude={"location"}), "location": place}, settings)


def incoming(file: ReceivedFile) -> IncomingFile:
    """A file as the service takes it. Raises the refusal that the file met on its way in."""
    if file.error is not None:
        raise file.error
    return IncomingFile(path=file.path, filename=file.filename, size=file.size, sha256=file.sha256, head=file.head)


UPLOAD_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "upid"],
                    "properties": {
                        "file": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF; repeat the field for several.",
                        },
                        "upid": {"type": "string", "pattern": rules.UPID_PATTERN, "example": "UNP-1978"},
                        "stage": {"type": "string", "enum": list(get_args(Stage))},
                        "description": {"type": "string", "maxLength": rules.DESCRIPTION_LIMIT},
                        "taken_at": {
                            "type": "string",
                            "format": "date-time",
                            "description": "When it was taken; wins over the camera's.",
                        },
                        "location": {
                            "type": "string",
                            "example": "3.4516,-76.5320",
                            "description": "`lat,lon`, or a JSON object with latitude and longitude; wins over the camera's.",
                        },
                        rules.UNIT_FIELD: {"type": "string", "maxLength": 64, "description": _UNIT_WORDS},
                        "callback_url": {"type": "string", "format": "uri", "description": _CALLBACK_WORDS},
                    },
                },
            }
        },
    }
}
