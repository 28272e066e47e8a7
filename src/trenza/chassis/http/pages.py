"""Lists in pages: an opaque cursor says after which item the next page starts, so that new items shift nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any, Generic, TypeVar, cast

from fastapi import Query
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.requests import Request

from trenza.chassis.http.phrases import Refusal

__all__ = ["InvalidCursor", "Page", "PageCursor", "PageLimit", "decode_cursor", "encode_cursor", "link_to_next", "page_of"]

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 200
_LONGEST_CURSOR = 1024

PageLimit = Annotated[int, Query(ge=1, le=LARGEST_LIMIT, description="How many items a page has at most.")]
"""``limit: PageLimit = DEFAULT_LIMIT`` in a route."""
PageCursor = Annotated[str | None, Query(max_length=_LONGEST_CURSOR, description="`next_cursor` of the page before.")]
"""``cursor: PageCursor = None`` in a route."""

T = TypeVar("T")
K = TypeVar("K")


class InvalidCursor(Refusal):
    """The cursor is not one that this list gave."""

    status = 422
    code = "INVALID_CURSOR"
    title = "Invalid cursor"


class Page(BaseModel, Generic[T]):
    """One page of a list. ``next_cursor`` is null on the last."""

    model_config = ConfigDict(frozen=True)

    items: tuple[T, ...]
    next_cursor: str | None = None


def encode_cursor(sort_key: Any) -> str:
    """The cursor behind an item with this sort key: a tuple of what JSON (with dates and UUIDs) can hold."""
    return base64.urlsafe_b64encode(to_json(sort_key)).rstrip(b"=").decode()


def decode_cursor(cursor: str | None, shape: type[K]) -> K | None:
    """The sort key in a cursor, checked against its type (``tuple[datetime, UUID]``); None without a cursor.

    Clients may forge one: that only lets them start at another place of a list that they may read. Raises `InvalidCursor`.
    """
    if cursor is None:
        return None
    try:
        if len(cursor) > _LONGEST_CURSOR:
            raise InvalidCursor(field="cursor")
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        if b"\\u0000" in data:  # PostgreSQL's texts cannot hold it: better refused here than there
            raise InvalidCursor(field="cursor")
        adapter: TypeAdapter[K] = _adapter(cast("Any", shape))
        key = adapter.validate_json(data)
    except (ValidationError, binascii.Error, ValueError) as error:
        raise InvalidCursor(field="cursor") from error
    return key


def page_of(items: Sequence[T], *, limit: int, sort_key: Callable[[T], Any]) -> Page[T]:
    """A page made of up to ``limit + 1`` items: ask the database for one more than fits, to know whether there is a next page."""
    more = len(items) > limit
    kept = tuple(items[:limit])
    return Page(items=kept, next_cursor=encode_cursor(sort_key(kept[-1])) if more and kept else None)


def link_to_next(request: Request, page: Page[Any]) -> dict[str, str]:
    """The ``Link`` header (RFC 8288) to the next page, relative to this one's host; empty on the last page."""
    if page.next_cursor is None:
        return {}
    url = request.url.include_query_params(cursor=page.next_cursor)
    return {"Link": f'<{url.path}?{url.query}>; rel="next"'}


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
