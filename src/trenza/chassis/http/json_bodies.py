"""What a request must be before a route sees it: JSON that is declared as such, and texts of characters that can be kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, ClassVar, Final

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from starlette.requests import HTTPConnection

from trenza.chassis.http.phrases import Refusal

__all__ = ["SOUND_TEXTS", "JsonExpected", "expect_json", "is_undeclared", "refuse_unsound"]

_WORDS: Final = {
    "half_character": "Holds half of a surrogate pair, which is no character; leave it out",
    "nul_character": "Holds the character NUL (U+0000), which no text needs; leave it out",
}
_MOST_ERRORS: Final = 20
_JSON: Final = re.compile(r"application/(?:[\w.+-]+\+)?json", re.IGNORECASE | re.ASCII)

Place = tuple[str | int, ...]


class JsonExpected(Refusal):
    """The Content-Type does not say that the body is JSON."""

    status: ClassVar[int] = 415
    title = "JSON expected"


def expect_json(connection: HTTPConnection) -> None:
    """For a route that reads its JSON by itself: raise `JsonExpected` where the request does not declare any."""
    declared = connection.headers.get("content-type", "").partition(";")[0].strip()
    if not _JSON.fullmatch(declared):
        raise JsonExpected(field="Content-Type", limit="application/json")


def refuse_unsound(body: Any) -> None:
    """For the same: raise `RequestValidationError` for texts within parsed JSON that no database and no answer holds."""
    _refuse(_unsound(("body",), body))


async def _refuse_unsound(connection: HTTPConnection) -> None:
    body = getattr(connection, "_json", None)  # what FastAPI has read of it; asking for it would read what is no JSON too
    path = _unsound(("path",), dict(connection.path_params))
    query: Iterable[tuple[str, Place]] = ()
    if b"%00" in connection.scope["query_string"] or b"\0" in connection.scope["query_string"]:
        query = chain.from_iterable(_unsound(("query",), {name: text}) for name, text in connection.query_params.multi_items())
    _refuse(chain(path, query, _unsound(("body",), body)))


SOUND_TEXTS: Any = Depends(_refuse_unsound)
"""A dependency of the whole application: 422 for a text in path, query or JSON body that cannot be kept, naming where.

JSON can hold half of a surrogate pair (RFC 8259, section 8.2), which has no UTF-8; and PostgreSQL's texts hold no NUL.
"""


def is_undeclared(error: RequestValidationError) -> bool:
    """Whether a body was not understood because its Content-Type does not say that it is JSON: FastAPI leaves it as bytes."""
    return isinstance(error.body, bytes) and any(
        found["loc"][:1] == ("body",) and not found["type"].startswith("bytes_") for found in error.errors()
    )


def _refuse(found: Iterable[tuple[str, Place]]) -> None:
    errors = [{"type": kind, "loc": place, "msg": _WORDS[kind]} for kind, place in islice(found, _MOST_ERRORS)]
    if errors:
        raise RequestValidationError(errors)


def _unsound(root: Place, value: Any) -> Iterator[tuple[str, Place]]:
    """What is wrong with texts, and where. That of a name in an object is told as the object's own place."""
    left: list[tuple[Place, Any]] = [(root, value)]
    while left:
        place, value = left.pop()
        if isinstance(value, str):
            if (kind := _fault(value)) is not None:
                yield kind, place
        elif isinstance(value, dict):
            if (kind := next(filter(None, map(_fault, value)), None)) is None:
                left.extend(((*place, name), item) for name, item in reversed(value.items()))
            else:
                yield kind, place
        elif isinstance(value, list):
            left.extend(((*place, index), value[index]) for index in reversed(range(len(value))))


def _fault(text: str) -> str | None:
    if "\0" in text:
        return "nul_character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half_character"
    return None
