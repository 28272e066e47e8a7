"""The headers with which browsers are told to be careful with our answers."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["SecurityHeaders"]

_STRICT = "default-src 'none'; frame-ancestors 'none'"
# FastAPI's pages of the API load Swagger UI or ReDoc from this CDN and start it with a script of their own.
_DOCUMENT_PAGES = (
    "default-src 'none'; frame-ancestors 'none'; connect-src 'self'; worker-src blob:; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    "font-src https://fonts.gstatic.com; img-src data: https://fastapi.tiangolo.com https://cdn.redoc.ly"
)
_CSP = b"content-security-policy"


class SecurityHeaders:
    """Adds what an answer does not say itself: a route that serves pages sets a Content-Security-Policy of its own.

    ``https`` says that clients reach the platform over TLS only, which browsers are then told to remember for a year.
    """

    def __init__(self, *, https: bool, document_paths: Collection[str]) -> None:
        self._document_paths = frozenset(document_paths)
        self._always = (
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            *([(b"strict-transport-security", b"max-age=31536000; includeSubDomains")] if https else []),
        )

    def add_to(self, headers: list[tuple[bytes, bytes]], path: str) -> None:
        """Append what is missing to the raw headers of an answer to this path."""
        present = {name.lower() for name, _ in headers}
        headers.extend(header for header in self._always if header[0] not in present)
        if _CSP not in present:
            policy = _DOCUMENT_PAGES if path in self._document_paths else _STRICT
            headers.append((_CSP, policy.encode()))
