"""Pure decisions about photos: states, object keys, kinds of file, and (in `fields`) how what comes in is read."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from trenza.chassis.contract import Value
from trenza.services.images.contract import Location
from trenza.services.photos.contract import Photo, PhotoVersion, Stage
from trenza.services.photos.rules.fields import (
    DESCRIPTION_LIMIT,
    UNIT_FIELD,
    UPID_PATTERN,
    in_zone,
    read_bound,
    read_callback,
    read_description,
    read_location,
    read_moment,
    read_span,
    read_stage,
    read_unit,
    read_upid,
)

__all__ = [
    "DESCRIPTION_LIMIT",
    "OBJECTS",
    "UNIT_FIELD",
    "UPID_PATTERN",
    "DirectUpload",
    "KnownObjects",
    "State",
    "Step",
    "UploadDetails",
    "VariantType",
    "clean_filename",
    "engine_wait",
    "in_zone",
    "kind_of_file",
    "object_folder",
    "object_key",
    "origins_of",
    "photo_of_key",
    "read_bound",
    "read_callback",
    "read_description",
    "read_location",
    "read_moment",
    "read_span",
    "read_stage",
    "read_unit",
    "read_upid",
    "target_of",
    "variant_key",
]

# --- states -------------------------------------------------------------------------------------------------------------------

State = Literal["queued", "processing", "completed", "failed", "deleted"]
Step = Literal["begin", "put_back", "complete", "fail", "retry", "requeue", "requeue_begun", "renew", "delete"]

_STEPS: Final[dict[Step, tuple[tuple[State, ...], State]]] = {
    # "processing" is an origin of "begin" because the process that began before may have died.
    "begin": (("queued", "processing"), "processing"),
    # The engine is down; the photo waits for it.
    "put_back": (("processing",), "queued"),
    "complete": (("processing",), "completed"),
    "fail": (("processing",), "failed"),
    "retry": (("failed",), "queued"),
    # Another task for a photo that has none that would still run; it stays where it is.
    "requeue": (("queued",), "queued"),
    "requeue_begun": (("processing",), "processing"),
    # All of its versions anew; those it has stay until then.
    "renew": (("completed",), "queued"),
    "delete": (("queued", "processing", "completed", "failed"), "deleted"),
}


def origins_of(step: Step) -> tuple[State, ...]:
    """The states from which a step is allowed."""
    return _STEPS[step][0]


def target_of(step: Step) -> State:
    """The state to which a step leads."""
    return _STEPS[step][1]


def engine_wait(age: timedelta) -> float:
    """Seconds until a photo of this age asks again for an engine that is down.

    A tenth of its age, between one second and a minute: a short restart is hardly noticed, and a long outage with thousands of
    photos waiting costs each of them one look a minute.
    """
    return min(60.0, max(1.0, age.total_seconds() / 10))


# --- uploads ------------------------------------------------------------------------------------------------------------------


class UploadDetails(Value):
    """What an upload says about its files, read and valid."""

    upid: str
    stage: Stage | None = None
    description: str | None = None
    taken_at: datetime | None = None
    location: Location | None = None
    callback_url: str | None = None
    unit: str | None = None


class DirectUpload(Value):
    """A file that somebody was promised to put into the object store under ``key``; ``photo_id`` is what it has become."""

    id: UUID
    filename: str
    bytes: int
    sha256: str | None
    key: str
    details: UploadDetails
    created_by: str
    expires_at: datetime
    photo_id: UUID | None = None


class KnownObjects(Value):
    """What the record of a photo says about its objects."""

    complete: bool
    """Only then is it known which versions there are; until then, any may be."""
    original_key: str
    versions: tuple[PhotoVersion, ...]

    def holds(self, key: str) -> bool:
        """Whether an object belongs to the photo: the original, a version, or a version in another format."""
        name = key.rsplit("/", 1)[-1]
        return (
            not self.complete
            or key == self.original_key
            or any(key == made.key or name.startswith(_variant_start(made)) for made in self.versions)
        )


# --- names of objects and files -----------------------------------------------------------------------------------------------

VariantType = Literal["image/webp", "image/avif"]
"""What versions are made into besides JPEG."""

_FILENAME_LIMIT = 255


_KEY = re.compile(r"photos/[A-Za-z0-9_-]{1,64}/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/[^/]+")

OBJECTS = "photos"
"""The folder of all objects of photos."""


def object_folder(upid: str, photo_id: UUID) -> str:
    """Where all objects of a photo lie."""
    return f"{OBJECTS}/{upid}/{photo_id}"


def photo_of_key(key: str) -> UUID | None:
    """The photo to which an object belongs by its key; None for a key that is none of ours."""
    match = _KEY.fullmatch(key)
    return None if match is None else UUID(match[1])


def object_key(upid: str, photo_id: UUID, name: str, extension: str = "jpg") -> str:
    """Where an object of a photo lies: ``photos/{upid}/{photo_id}/{name}.{extension}``."""
    return f"{object_folder(upid, photo_id)}/{name}.{extension}"


def variant_key(photo: Photo, version: PhotoVersion, quality: int, extension: str) -> str:
    """Where a version in another format lies: beside the others, ``{name}-{width}x{height}-q{quality}.{extension}``."""
    return object_key(photo.upid, photo.id, f"{_variant_start(version)}{quality}", extension)


def _variant_start(version: PhotoVersion) -> str:
    return f"{version.name}-{version.width}x{version.height}-q"


def clean_filename(name: str | None) -> str:
    """The last part of a path, without control characters, at most 255 characters; ``photo`` when nothing is left."""
    last = re.split(r"[/\\]", name or "")[-1]
    printable = "".join(character for character in last if unicodedata.category(character)[0] != "C").strip()
    return printable[-_FILENAME_LIMIT:] if printable.strip(".") else "photo"


_SIGNATURES: Final = (
    (b"\xff\xd8\xff", "image/jpeg", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "image/png", "png"),
    (b"GIF87a", "image/gif", "gif"),
    (b"GIF89a", "image/gif", "gif"),
    (b"II*\x00", "image/tiff", "tif"),
    (b"MM\x00*", "image/tiff", "tif"),
    (b"II+\x00", "image/tiff", "tif"),
    (b"MM\x00+", "image/tiff", "tif"),
    (b"BM", "image/bmp", "bmp"),
)
_AVIF_BRANDS: Final = (b"avif", b"avis")
_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def kind_of_file(head: bytes) -> tuple[str, str] | None:
    """Media type and customary extension by a file's first bytes (12 suffice), or None when it is no kind of photo.

    Only a first glance, so that what is no photo is never stored, engine or not; the image engine judges the rest.
    """
    for signature, media_type, extension in _SIGNATURES:
        if head.startswith(signature):
            return media_type, extension
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp", "webp"
    if head[4:8] == b"ftyp":
        # ISO 23008-12: "mif1" may come first with "avif" or "heic" among the compatible brands.
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), int.from_bytes(head[:4])), 4))}
        if brands.intersection(_AVIF_BRANDS):
            return "image/avif", "avif"
        if brands.intersection(_HEIF_BRANDS):
            return "image/heic", "heic"
    return None
