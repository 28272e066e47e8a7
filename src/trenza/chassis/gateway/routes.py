"""Which service a request's path belongs to, and in which spellings of the path that is found out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ["LEGACY", "AmbiguousPath", "Found", "GatewayRoute", "Routes", "spellings"]

LEGACY: Final = "legacy"
"""The name of the upstream that takes what no service owns."""

INTERNAL: Final = "/_call"
"""The internal route of every process; at the door nothing answers below it, in whatever spelling."""

_API: Final = re.compile(r"(?:/api(?:/v1)?)?(?P<end>/(?!(?:api|v[0-9]+)(?:/|$)).+)")
_VERSIONED, _UNVERSIONED = "/api/v1", "/api"
_PLATFORM: Final = ("/blobs", "/docs", "/health", "/metrics", "/openapi.json", INTERNAL)
"""What the platform itself serves: no other spelling of a service's prefix may lead there."""
_ODD: Final = re.compile(rb"[%\\]|//|/\.|[A-Z]")
"""What makes a path worth a second look: it may have other readings."""
_MOST_DECODINGS: Final = 5


@dataclass(frozen=True)
class GatewayRoute:
    """A service, the path prefixes that it owns, and the processes that host it (``http://host:port``; none: this process).

    ``checks_tokens`` is False for a service whose bearer tokens are not the platform's, such as an older application's own.
    """

    service: str
    prefixes: tuple[str, ...]
    urls: tuple[str, ...] = ()
    checks_tokens: bool = True

    @property
    def local(self) -> bool:
        """Whether this process hosts it."""
        return not self.urls


@dataclass(frozen=True)
class Found:
    """Whom a path belongs to. ``asked`` is the spelling of the prefix in the request, ``prefix`` the owned one."""

    route: GatewayRoute
    prefix: str
    asked: str


class AmbiguousPath(Exception):
    """The path means one thing as it is written and another to somebody who decodes or normalises it (RFC 3986, section 6)."""


class Routes:
    """Finds the owner of a path: the longest owned prefix, in whole segments.

    Every owned prefix is reached in three spellings, ``/api/v1/photos``, ``/api/photos`` and ``/photos``, unless another service
    or the platform owns that spelling itself. A spelling that two services would have, and have not as their own, nobody has.
    """

    def __init__(self, routes: Sequence[GatewayRoute]) -> None:
        """Raises `ValueError` for a prefix that two services own."""
        self.all = tuple(routes)
        self._table = {found.asked.encode(): found for found in _entries(self.all)}
        self._folded = {asked.lower(): found for asked, found in self._table.items()}
        self._deepest = max((asked.count(b"/") for asked in self._table), default=0)

    def spellings_of(self, prefix: str) -> tuple[str, ...]:
        """Every spelling of a path in which an owned prefix is reached, its own first."""
        return tuple(found.asked for found in self._table.values() if found.prefix == prefix)

    def find(self, raw_path: bytes) -> Found | None:
        """The owner of a path as it stands in the request line (percent-encoded, no query), or None where nobody owns it.

        Raises `AmbiguousPath` where a reader who decodes, joins slashes, resolves dots or ignores case would find another owner,
        or the internal route: whoever is behind the door may be such a reader.
        """
        found = self._lookup(self._table, raw_path)
        if _ODD.search(raw_path) is not None or raw_path.startswith(_INTERNAL_BYTES):
            for reading in _readings(raw_path):
                if _is_internal(reading) or self._lookup(self._folded, reading) is not found:
                    raise AmbiguousPath(raw_path.decode("latin-1"))
        return found

    def _lookup(self, table: dict[bytes, Found], path: bytes) -> Found | None:
        if path == b"/":
            return table.get(path)
        if (whole := table.get(path)) is not None:
            return whole
        ends: list[int] = []
        end = path.find(b"/", 2)
        while end > 0 and len(ends) < self._deepest:
            ends.append(end)
            end = path.find(b"/", end + 1)
        for end in reversed(ends):
            if (found := table.get(path[:end])) is not None:
                return found
        return None


_INTERNAL_BYTES: Final = INTERNAL.encode()


def spellings(prefix: str) -> tuple[str, ...]:
    """An owned prefix and its other spellings: of ``/api/photos`` also ``/api/v1/photos`` and ``/photos``.

    The root, ``/api`` itself, prefixes of another version (``/api/v2/photos``) and what the platform serves have but one.
    """
    match = _API.fullmatch(prefix)
    end = match["end"] if match else _UNVERSIONED
    if end == _UNVERSIONED or any(_overlap(prefix, taken) for taken in _PLATFORM):
        return (prefix,)
    return tuple(dict.fromkeys((prefix, f"{_VERSIONED}{end}", f"{_UNVERSIONED}{end}", end)))


def _entries(routes: tuple[GatewayRoute, ...]) -> Iterator[Found]:
    owned: dict[str, GatewayRoute] = {}
    for route in routes:
        for prefix in route.prefixes:
            if owned.setdefault(prefix, route) is not route:
                raise ValueError(f"{route.service} and {owned[prefix].service} both own {prefix}: change one of their contracts")
    others = Counter(asked for prefix in owned for asked in spellings(prefix)[1:])
    for prefix, route in owned.items():
        yield Found(route, prefix, prefix)
        for asked in spellings(prefix)[1:]:
            if others[asked] == 1 and not any(_overlap(asked, taken) for taken in (*owned, *_PLATFORM) if taken != prefix):
                yield Found(route, prefix, asked)


def _overlap(path: str, other: str) -> bool:
    """Whether one lies within the other, in whole segments. Nothing lies within the root."""
    if "/" in (path, other):
        return path == other
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def _readings(path: bytes) -> Iterator[bytes]:
    """The path in lower case and normal form: as it is, decoded once, twice, and so on until nothing changes."""
    for _ in range(_MOST_DECODINGS):
        yield _normal(path)
        decoded = unquote_to_bytes(path)
        if decoded == path:
            return
        path = decoded
    raise AmbiguousPath("encoded over and over")


def _normal(path: bytes) -> bytes:
    kept: list[bytes] = []
    parts = path.replace(b"\\", b"/").lower().split(b"/")
    for part in parts:
        if part == b"..":
            del kept[-1:]
        elif part not in (b"", b"."):
            kept.append(part)
    return b"/" + b"/".join(kept)


def _is_internal(path: bytes) -> bool:
    first = path[1:].split(b"/", 1)[0].split(b";", 1)[0].split(b"\0", 1)[0].strip()
    return first == _INTERNAL_BYTES[1:]
