"""What other services may ask of the image engine."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime
from typing import Literal

from pydantic import Field

from trenza.chassis.contract import Contract, ContractError, Value, operation

__all__ = [
    "ImageInfo",
    "ImageTooLarge",
    "Images",
    "InvalidDimensions",
    "InvalidImageFormat",
    "Location",
    "ProcessingFailed",
    "ProcessingTimeout",
    "Rendered",
    "RenderedImage",
    "Rendition",
    "SourceMissing",
]

OutputType = Literal["image/jpeg", "image/webp", "image/avif"]


class Location(Value):
    """A place on the Earth (WGS 84), in decimal degrees."""

    latitude: float = Field(ge=-90, le=90, strict=True)
    longitude: float = Field(ge=-180, le=180, strict=True)


class ImageInfo(Value):
    """What the header of an image file says. ``width`` and ``height`` are in pixels, as stored (before orientation)."""

    media_type: str
    width: int
    height: int
    bytes: int
    extension: str
    """The customary file name extension, without the dot: ``jpg``."""


class Rendition(Value):
    """An order for one version of an image.

    ``inside`` keeps the whole image within the box; ``cover`` fills the box and crops the middle. Neither ever enlarges.
    """

    name: str = Field(pattern=r"^[a-z0-9_-]{1,32}$")
    key: str
    """The object key to write to."""
    width: int = Field(ge=1, le=16383)
    height: int = Field(ge=1, le=16383)
    fit: Literal["inside", "cover"] = "inside"
    media_type: OutputType = "image/jpeg"
    quality: int = Field(82, ge=1, le=100)
    progressive: bool = True
    """Of a JPEG: it shows roughly before all of it has come. Baseline files take less time to make; other types are neither."""


class RenderedImage(Value):
    """One version, as it was written."""

    name: str
    key: str
    width: int
    height: int
    bytes: int
    media_type: OutputType


class Rendered(Value):
    """The result of one pass over an image. ``width`` and ``height`` are those of the upright original."""

    width: int
    height: int
    taken_at: datetime | None = None
    """When the photograph was taken, from its EXIF. A camera that gives no offset from UTC is read as being in UTC."""
    location: Location | None = None
    """Where, from its EXIF; None for coordinates that cannot be, and for the zeros that cameras without a fix write."""
    renditions: tuple[RenderedImage, ...] = ()
    thumbhash: str | None = None
    """The image in some 25 bytes (ThumbHash, in base64), to be shown until it has loaded; None when nothing was ordered."""
    dominant_colour: str | None = None
    """The colour that covers most of it, as ``#rrggbb``; None when nothing was ordered."""


class InvalidImageFormat(ContractError):
    """The file is not an image that can be decoded here, or it is damaged."""

    status = 400
    code = "INVALID_IMAGE_FORMAT"
    title = "Invalid image format"


class ImageTooLarge(ContractError):
    """The file, what it would decode to, or what decoding it would take is over the limit."""

    status = 413
    code = "IMAGE_TOO_LARGE"
    title = "Image too large"


class InvalidDimensions(ContractError):
    """The image has a side that nothing can be made of."""

    status = 422
    code = "INVALID_DIMENSIONS"
    title = "Invalid dimensions"


class ProcessingTimeout(ContractError):
    """The image takes more processor time than it may, and will every time."""

    status = 504
    code = "PROCESSING_TIMEOUT"
    title = "Processing timed out"


class ProcessingFailed(ContractError):
    """The worker died on this image (its decoder crashed, or it was killed) or was kept waiting. Trying again may help."""

    status = 422
    code = "PROCESSING_FAILED"
    title = "Processing failed"


class SourceMissing(ContractError):
    """No object is stored under the source key."""

    status = 404
    code = "SOURCE_MISSING"
    title = "Source missing"


class Images(Contract, service="images", paths=("/api/v1/images",)):
    """The image engine. Sources and results are object keys in the platform's shared object store."""

    @operation(idempotent=True, timeout=10, errors=(InvalidImageFormat, ImageTooLarge, InvalidDimensions, SourceMissing))
    @abstractmethod
    async def inspect(self, *, source: str) -> ImageInfo:
        """Judge an image by its header alone, before anything is decoded."""

    @operation(
        idempotent=True,
        timeout=120,
        errors=(
            InvalidImageFormat,
            ImageTooLarge,
            InvalidDimensions,
            ProcessingTimeout,
            ProcessingFailed,
            SourceMissing,
        ),
    )
    @abstractmethod
    async def render(self, *, source: str, renditions: tuple[Rendition, ...]) -> Rendered:
        """Decode once and write every rendition: upright, sRGB, three 8-bit bands, flattened on white, no metadata."""
