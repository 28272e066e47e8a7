"""What the body of a request may be: how large (a default, which a route may raise for itself), and not encoded."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope

__all__ = ["BodyEncoded", "BodyLimit", "BodyTooLarge", "allow_body", "allow_encoded_body"]

_SCOPE_KEY = "trenza.body_limit"


class BodyTooLarge(HTTPException):
    """The body is over the limit. An `HTTPException`, because FastAPI turns any other error in reading a body into a 400."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, headers={"Connection": "close"})
        self.limit = limit


class BodyEncoded(HTTPException):
    """The body has a content coding (RFC 9110, section 8.4), such as gzip, which nobody here undoes."""

    def __init__(self) -> None:
        super().__init__(415, headers={"Accept-Encoding": "identity"})


class BodyLimit:
    """The limit of one request, in bytes, and what has been received of its body; ``encoded`` when that has a content coding."""

    def __init__(self, limit: int, scope: Scope, receive: Receive, declared: int | None, *, encoded: bool = False) -> None:
        self.limit = limit
        self.encoded = encoded
        self.received = 0
        self.complete = False
        self._declared = declared
        self._receive = receive
        scope[_SCOPE_KEY] = self

    @property
    def unread(self) -> int | None:
        """How many bytes the client has still to send; None when it did not say."""
        if self.complete:
            return 0
        return None if self._declared is None else max(0, self._declared - self.received)

    async def receive(self) -> Message:
        """The next ASGI message. Raises `BodyEncoded`, and `BodyTooLarge`: at once if Content-Length says so, else once it is."""
        if self._declared is not None and self._declared > self.limit:
            raise BodyTooLarge(self.limit)
        message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            if self.received > self.limit:
                raise BodyTooLarge(self.limit)
            if self.received and self.encoded:
                raise BodyEncoded
        return message


def allow_body(connection: HTTPConnection, limit: int) -> None:
    """Let the body of this request have up to ``limit`` bytes. Call it before anything of the body is read."""
    found = connection.scope.get(_SCOPE_KEY)
    if isinstance(found, BodyLimit):
        found.limit = limit


def allow_encoded_body(connection: HTTPConnection) -> None:
    """Let the body of this request have any content coding: whoever reads it looks at Content-Encoding."""
    found = connection.scope.get(_SCOPE_KEY)
    if isinstance(found, BodyLimit):
        found.encoded = False
