"""How the fields of forms and queries are read; each refusal names the field, its limit and the remedy."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import JsonValue

from trenza.chassis.auth.roles import UNIT
from trenza.services.images.contract import Location
from trenza.services.photos.contract import InvalidField, InvalidUpid, Stage

__all__ = [
    "DESCRIPTION_LIMIT",
    "UNIT_FIELD",
    "UPID_PATTERN",
    "in_zone",
    "read_bound",
    "read_callback",
    "read_description",
    "read_location",
    "read_moment",
    "read_span",
    "read_stage",
    "read_unit",
    "read_upid",
]

UPID_PATTERN: Final = "^[A-Za-z0-9_-]{1,64}$"
"""What a UPID looks like, for schemas."""
_UPID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Limits are written without words: they are shown in every language.
_UPID_LIMIT = "1..64: A-Z a-z 0-9 - _"
DESCRIPTION_LIMIT = 2000
CALLBACK_LIMIT = 2000
UNIT_FIELD = "centro_gestor"
_STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
_EARLIEST = datetime(1826, 1, 1, tzinfo=UTC)  # no photograph is older
_LATITUDE_NAMES: Final = ("latitude", "lat")
_LONGITUDE_NAMES: Final = ("longitude", "lon", "lng")


def _hint(field: str, limit: str, remedy: str) -> dict[str, JsonValue]:
    return {"field": field, "limit": limit, "remedy": remedy}


def read_upid(text: str | None) -> str:
    """A UPID, or `InvalidUpid`. Nothing else may become part of an object key."""
    if text is None or not text.strip():
        raise InvalidUpid("upid is missing", **_hint("upid", _UPID_LIMIT, "send the id of the project unit, such as UNP-1978"))
    if not _UPID.fullmatch(text.strip()):
        raise InvalidUpid(
            "upid holds something else than letters (a to z), digits, '-' and '_', or is longer than 64 characters",
            **_hint("upid", _UPID_LIMIT, "send the id of the project unit, such as UNP-1978"),
        )
    return text.strip()


def read_stage(text: str | None) -> Stage | None:
    """A stage, None when empty, or `InvalidField`."""
    if not text or not text.strip():
        return None
    for stage in _STAGES:
        if text.strip().lower() == stage:
            return stage
    choices = ", ".join(_STAGES)
    raise InvalidField(f"stage is none of {choices}", **_hint("stage", choices, "send one of them, or leave stage out"))


def read_description(text: str | None) -> str | None:
    """A description without surrounding space, None when empty, or `InvalidField`."""
    # PostgreSQL's text cannot hold NUL; nobody means to write one.
    stripped = (text or "").replace("\x00", "").strip()
    if len(stripped) > DESCRIPTION_LIMIT:
        detail = f"description has {len(stripped)} characters; at most {DESCRIPTION_LIMIT} are kept"
        raise InvalidField(detail, **_hint("description", f"0..{DESCRIPTION_LIMIT}", "shorten it"))
    return stripped or None


def read_moment(text: str | None, *, field: str, zone: tzinfo) -> datetime | None:
    """An ISO 8601 moment in UTC, None when empty, or `InvalidField`. Without an offset it is of the given zone."""
    if not text or not text.strip():
        return None
    try:
        moment = in_zone(datetime.fromisoformat(text.strip()), zone)
    except ValueError:
        raise _no_moment(field) from None
    if moment is None or moment < _EARLIEST:
        raise _no_moment(field)
    return moment


def read_bound(text: str | None, *, field: Literal["from", "to"], zone: tzinfo) -> datetime | None:
    """One end of a span of time. A date alone means the whole day: ``to=2026-05-31`` includes the 31st."""
    moment = read_moment(text, field=field, zone=zone)
    if moment is None or field == "from":
        return moment
    try:
        following = date.fromisoformat((text or "").strip()) + timedelta(days=1)
        return datetime.combine(following, time(), zone).astimezone(UTC)
    except (ValueError, OverflowError):  # it names a time of day, or the last day that there is
        return moment


def read_span(start: str | None, end: str | None, *, zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """A span of time from ``from`` and ``to``. Raises `InvalidField` for an end that cannot be read or that comes first."""
    since, until = read_bound(start, field="from", zone=zone), read_bound(end, field="to", zone=zone)
    if since is not None and until is not None and since > until:
        raise InvalidField("from is later than to", **_hint("from", "from <= to", "exchange them, or leave one of them out"))
    return since, until


def in_zone(moment: datetime | None, zone: tzinfo) -> datetime | None:
    """A moment in UTC; one without an offset is of the given zone. None stays None, and so does what has no moment in UTC."""
    if moment is None:
        return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):  # the first and the last day that there is
        return None


def _no_moment(field: str) -> InvalidField:
    return InvalidField(
        f"{field} is not a date and time of ISO 8601",
        **_hint(field, "ISO 8601, >= 1826", "write it like 2026-05-31T14:30:00-05:00; encode '+' as %2B in a URL"),
    )


def read_location(text: str | None) -> Location | None:
    """A place from ``lat,lon`` or a JSON object with ``latitude`` and ``longitude``, None when empty, or `InvalidField`."""
    if not text or not text.strip():
        return None
    pair = _json_pair(text) if text.strip().startswith("{") else text.split(",")
    try:
        latitude, longitude = (float(part) for part in pair)
    except (TypeError, ValueError, OverflowError):
        raise _no_location("location is neither 'lat,lon' nor a JSON object with latitude and longitude") from None
    # Also false for NaN, which compares with nothing.
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):  # noqa: PLR2004 - the sphere's own figures
        raise _no_location("location lies outside of the Earth: latitude goes from -90 to 90, longitude from -180 to 180")
    return Location(latitude=latitude, longitude=longitude)


def read_callback(text: str | None) -> str | None:
    """The URL to tell, None when empty, or `InvalidField`. Which addresses may be reached is judged elsewhere."""
    if not text or not text.strip():
        return None
    url = text.strip()
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        sound = False
    if not sound or len(url) > CALLBACK_LIMIT or not (url.isascii() and url.isprintable()) or set(url) & set(' "<>\\^`{|}'):
        raise InvalidField(
            "callback_url is not an absolute http(s) URL without user and password",
            **_hint("callback_url", f"http(s)://, 1..{CALLBACK_LIMIT}", "write it like https://example.org/hooks/photos"),
        )
    return url


def read_unit(text: str | None) -> str | None:
    """An organisation unit, None when empty, or `InvalidField`."""
    unit = (text or "").strip()
    if unit and not UNIT.fullmatch(unit):
        hint = _hint(UNIT_FIELD, "1..64: A-Z a-z 0-9 . _ -", "send the code of the organisation unit, without spaces")
        raise InvalidField(f"{UNIT_FIELD} is not the code of an organisation unit", **hint)
    return unit or None


def _json_pair(text: str) -> list[float]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    pair = []
    for names in (_LATITUDE_NAMES, _LONGITUDE_NAMES):
        values = [found[name] for name in names if name in found]
        pair += [value for value in values[:1] if isinstance(value, int | float) and not isinstance(value, bool)]
    return pair


def _no_location(detail: str) -> InvalidField:
    hint = _hint("location", "-90..90, -180..180", "write it like 3.4516,-76.5320, in decimal degrees")
    return InvalidField(detail, **hint)
