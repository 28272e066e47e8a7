"""WebSockets through the gateway: the handshake, then messages both ways, each side no faster than the other takes them."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.types import Message, Receive, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from trenza.chassis.gateway.requests import HOP_BY_HOP, RequestHead
from trenza.chassis.http.problem import Problem
from trenza.chassis.peers import Replica

__all__ = ["MOST_MESSAGE_BYTES", "Refused", "open_upstream", "pass_messages"]

MOST_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The most that one message may have: what our own server takes (uvicorn's default)."""

_OPEN_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 5.0
_NORMAL, _GONE, _ABNORMAL, _NO_STATUS, _INTERNAL = 1000, 1001, 1006, 1005, 1011
_OURS: Final = frozenset((b"date", b"server", b"x-correlation-id", b"content-length"))


class Refused(Exception):
    """The upstream answered the handshake with something else than 101."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__(f"the handshake was answered with {status}")
        self.status, self.headers, self.body = status, headers, body


async def open_upstream(
    replica: Replica, head: RequestHead, target: bytes, subprotocols: list[str], *, service: str, tls: ssl.SSLContext | None
) -> ClientConnection:
    """A WebSocket to a replica. Raises `Refused`, OSError without a connection, `Problem` (502, 504) for a broken handshake."""
    parts = urlsplit(replica.url)
    secure = parts.scheme == "https"
    where: dict[str, Any] = {"host": parts.hostname, "port": parts.port or (443 if secure else 80)}
    if secure:
        where |= {"ssl": tls, "server_hostname": parts.hostname}
    host = head.host.decode("latin-1") or parts.netloc
    uri = f"{'wss' if secure else 'ws'}://{host}{target.decode('latin-1')}"
    try:
        return await connect(
            uri,
            additional_headers=_extra(head),
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
            compression=None,  # both hops are near; the client's own hop is compressed by our server
            user_agent_header=None,
            open_timeout=_OPEN_SECONDS,
            close_timeout=_CLOSE_SECONDS,
            max_size=MOST_MESSAGE_BYTES,
            max_queue=(4, 1),
            write_limit=256 * 1024,
            proxy=None,
            **where,  # where it goes; the address above is what it asks for
        )
    except InvalidStatus as error:
        answer = error.response
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in answer.headers.raw_items()
            if name.lower().encode("latin-1") not in HOP_BY_HOP | _OURS
        ]
        raise Refused(answer.status_code, headers, bytes(answer.body or b"")) from error
    except InvalidHandshake as error:
        raise Problem(502, "UPSTREAM_FAILED", service=service) from error
    except TimeoutError as error:
        raise Problem(504, "UPSTREAM_TIMEOUT", service=service, seconds=_OPEN_SECONDS) from error


def _extra(head: RequestHead) -> list[tuple[str, str]]:
    """The headers of the handshake that are the client's, and ours about it."""
    lines = head.encode(b"/").decode("latin-1").split("\r\n")[1:]
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines) if name]
    return [
        (name, value) for name, value in pairs if not name.startswith("sec-websocket-") and name not in ("host", "content-length")
    ]


async def pass_messages(upstream: ClientConnection, receive: Receive, send: Send) -> None:
    """Pass messages until one side closes, and its close code and reason to the other."""
    to_client = asyncio.create_task(_to_client(upstream, send))
    to_upstream = asyncio.create_task(_to_upstream(upstream, receive))
    try:
        await asyncio.wait({to_client, to_upstream}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (to_client, to_upstream):
            task.cancel()
        results = await asyncio.gather(to_client, to_upstream, return_exceptions=True)
        await upstream.close(_GONE)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _to_client(upstream: ClientConnection, send: Send) -> None:
    try:
        async for data in upstream:
            key = "text" if isinstance(data, str) else "bytes"
            await send({"type": "websocket.send", key: data})
        code, reason = upstream.close_code, upstream.close_reason
    except ConnectionClosed as error:
        received = error.rcvd
        code, reason = (received.code, received.reason) if received is not None else (_INTERNAL, "the service broke off")
    # What says that there was no code, or no proper end, may not be sent (RFC 6455, section 7.4.1).
    code = _NORMAL if code in (None, _NO_STATUS) else _INTERNAL if code == _ABNORMAL else code
    await send({"type": "websocket.close", "code": code, "reason": reason or ""})


async def _to_upstream(upstream: ClientConnection, receive: Receive) -> None:
    with suppress(ConnectionClosed):  # the other direction tells the client
        while True:
            message: Message = await receive()
            if message["type"] == "websocket.disconnect":
                code = message.get("code", _NO_STATUS)
                await upstream.close(_NORMAL if code in (_NO_STATUS, _ABNORMAL) else code, message.get("reason") or "")
                return
            data = message.get("text")
            await upstream.send(data if data is not None else message["bytes"])
