"""The decisions about inspections that need no database."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from inspections.contract import Inspection, InvalidInspection

__all__ = ["MOST_PHOTOS", "TITLE_LIMIT", "is_complete", "read_order", "report_key"]

MOST_PHOTOS: Final = 100
TITLE_LIMIT: Final = 200
_UPID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def read_order(*, upid: str, title: str, photos_needed: int) -> tuple[str, str]:
    """The project and the title, without the space around them. Raises `InvalidInspection`."""
    upid, title = upid.strip(), title.strip()
    if not _UPID.fullmatch(upid):
        raise InvalidInspection(
            "upid is no id of a project", field="upid", limit="1..64: A-Z a-z 0-9 - _", remedy="send one such as UNP-1978"
        )
    if not 1 <= len(title) <= TITLE_LIMIT or "\x00" in title:
        raise InvalidInspection(
            "title is empty or too long", field="title", limit=f"1..{TITLE_LIMIT}", remedy="say in a line what to photograph"
        )
    if not 1 <= photos_needed <= MOST_PHOTOS:
        raise InvalidInspection(
            f"photos_needed is not between 1 and {MOST_PHOTOS}",
            field="photos_needed",
            limit=f"1..{MOST_PHOTOS}",
            remedy="ask for fewer, or open several inspections one after the other",
        )
    return upid, title


def is_complete(inspection: Inspection) -> bool:
    """Whether enough photos are there."""
    return len(inspection.photo_ids) >= inspection.photos_needed


def report_key(inspection: Inspection, moment: datetime) -> str:
    """The object key of a report; by year, so that a folder does not grow for ever."""
    return f"inspections/{moment.year}/{inspection.id}.json"
