"""Which headers of an upstream's answer reach the client."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from trenza.chassis.gateway.requests import HOP_BY_HOP
from trenza.chassis.http.security_headers import SecurityHeaders

__all__ = ["AnswerHeaders"]

Headers = list[tuple[bytes, bytes]]

_OURS: Final = frozenset((b"date", b"server", b"x-correlation-id"))
"""What our own server writes, or this gateway."""
_CORS: Final = b"access-control-"
_BODILESS: Final = (204, 304)
_FIRST_REDIRECT, _LAST_REDIRECT = 300, 399


class AnswerHeaders:
    """``cors`` says that this gateway answers for cross-origin requests, so that what upstreams say of them is dropped."""

    def __init__(self, security: SecurityHeaders, *, cors: bool) -> None:
        self._security = security
        self._cors = cors

    def passed_on(self, status: int, headers: Headers, *, correlation_id: bytes, path: str, upstream: str, own: bool) -> Headers:
        """The headers of an answer from ``upstream``; ``own`` is False for a legacy one, whose pages keep what they say."""
        kept: Headers = []
        named = HOP_BY_HOP
        for name, value in headers:
            if name == b"connection" and value.lower() not in (b"close", b"keep-alive"):
                named = named | {token.strip().lower() for token in value.split(b",")}
        for name, value in headers:
            if name in named or name in _OURS or (self._cors and name.startswith(_CORS)):
                continue
            if name == b"content-length" and status in _BODILESS:
                continue  # servers take it for the length of what follows
            if name == b"location" and _FIRST_REDIRECT <= status <= _LAST_REDIRECT:
                value = _relative(value, upstream)  # noqa: PLW2901 - the same header, mended
            kept.append((name, value))
        kept.append((b"x-correlation-id", correlation_id))
        if own:
            self._security.add_to(kept, path)
        return kept


def _relative(location: bytes, upstream: str) -> bytes:
    """A redirect to the upstream's own address, which clients cannot reach, as one within this host."""
    if not location.startswith(upstream.encode()):
        return location
    parts = urlsplit(location.decode("latin-1"))
    if f"{parts.scheme}://{parts.netloc}" != upstream:
        return location
    rest = "/" + parts._replace(scheme="", netloc="").geturl().lstrip("/\\")
    return rest.encode("latin-1")
