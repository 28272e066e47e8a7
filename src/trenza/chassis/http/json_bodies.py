"""What a JSON body must be before a route sees it: declared as JSON, and made of whole characters."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from starlette.requests import HTTPConnection

__all__ = ["WHOLE_CHARACTERS", "is_undeclared"]

_HALF: Final = "Holds half of a surrogate pair, which is no character; leave it out"
_MOST_ERRORS: Final = 20


async def _refuse_halves(connection: HTTPConnection) -> None:
    """JSON can hold half of a surrogate pair (RFC 8259, section 8.2). Without UTF-8, no database and no answer holds it."""
    body = getattr(connection, "_json", None)  # what FastAPI has read of it; asking for it would read what is no JSON too
    places = islice(_halves(body), _MOST_ERRORS)
    errors = [{"type": "half_character", "loc": ("body", *place), "msg": _HALF} for place in places]
    if errors:
        raise RequestValidationError(errors)


WHOLE_CHARACTERS: Any = Depends(_refuse_halves)
"""A dependency of the whole application: 422 for a JSON body with a text that is no text, naming where."""


def is_undeclared(error: RequestValidationError) -> bool:
    """Whether a body was not understood because its Content-Type does not say that it is JSON: FastAPI leaves it as bytes."""
    return isinstance(error.body, bytes) and any(
        found["loc"][:1] == ("body",) and not found["type"].startswith("bytes_") for found in error.errors()
    )


def _halves(body: Any) -> Iterator[tuple[str | int, ...]]:
    """Where there are texts with lone surrogates. That of a name in an object is told as the object's own place."""
    left: list[tuple[tuple[str | int, ...], Any]] = [((), body)]
    while left:
        place, value = left.pop()
        if isinstance(value, str):
            if not _is_whole(value):
                yield place
        elif isinstance(value, dict):
            if all(map(_is_whole, value)):
                left.extend(((*place, name), item) for name, item in reversed(value.items()))
            else:
                yield place
        elif isinstance(value, list):
            left.extend(((*place, index), value[index]) for index in reversed(range(len(value))))


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
