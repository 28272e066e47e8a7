"""Reads when and where a photograph was taken from its EXIF block; whatever is broken or impossible is left out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

from PIL import ExifTags, Image

__all__ = ["Taken", "read_exif"]

_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")
_LONGEST_OFFSET = timedelta(hours=14)
_NORTH_SOUTH = {"N": 1, "S": -1}
_EAST_WEST = {"E": 1, "W": -1}
"""What each reference letter makes of a coordinate (EXIF 3.0, 4.6.7); any other letter says nothing."""


class Taken(NamedTuple):
    """When (aware) and where (WGS 84, signed decimal degrees) a photograph was taken, as far as it is known."""

    at: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None


def read_exif(block: bytes) -> Taken:
    """What an EXIF block tells. Never raises: malformed EXIF must not cost the user a good photograph."""
    exif = Image.Exif()
    try:
        exif.load(block)
        return _taken(exif)
    except Exception:  # noqa: BLE001 - Pillow's parser raises whatever hostile bytes make it raise
        return Taken()


def read_tiff_tags(path: str) -> Taken:
    """What the directories of a TIFF file tell, which are laid out as EXIF is. Never raises, as `read_exif`."""
    try:
        with Image.open(path, formats=["TIFF"]) as image:
            return _taken(image.getexif())
    except Exception:  # noqa: BLE001 - as above; libvips judges the image itself
        return Taken()


def _taken(exif: Image.Exif) -> Taken:
    details = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    latitude = _degrees(gps, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, _NORTH_SOUTH, 90)
    longitude = _degrees(gps, ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, _EAST_WEST, 180)
    if latitude is None or longitude is None or (latitude, longitude) == (0, 0):  # cameras without a fix write zeros
        latitude = longitude = None
    return Taken(_moment(details), latitude, longitude)


def _moment(details: dict[int, Any]) -> datetime | None:
    """DateTimeOriginal with its offset. Without an offset the camera's local time is unknown; it is read as UTC."""
    found = _DATE.fullmatch(_text(details.get(ExifTags.Base.DateTimeOriginal)))
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=_zone(details))
    except ValueError:
        return None


def _zone(details: dict[int, Any]) -> timezone:
    found = _OFFSET.fullmatch(_text(details.get(ExifTags.Base.OffsetTimeOriginal)))
    if found is None:
        return UTC
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    if offset > _LONGEST_OFFSET:
        return UTC
    return timezone(offset if found[1] == "+" else -offset)


def _text(value: Any) -> str:
    """An EXIF string without its padding."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip("\0 ") if isinstance(value, str) else ""


def _degrees(gps: dict[int, Any], value_tag: int, reference_tag: int, signs: dict[str, int], most: float) -> float | None:
    """A coordinate from degrees, minutes and seconds; None unless all of it makes sense."""
    value = gps.get(value_tag)
    sign = signs.get(_text(gps.get(reference_tag)).upper()[:1])
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not 1 <= len(value) <= 3:  # noqa: PLR2004 - d, m, s
        return None
    try:
        parts = [float(part) for part in value]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    degrees: float = sum(part / 60**power for power, part in enumerate(parts))
    if not math.isfinite(degrees) or min(parts) < 0 or degrees > most or sign is None:
        return None
    return round(sign * degrees, 7)
