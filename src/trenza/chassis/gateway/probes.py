"""Questions of the gateway's own to upstreams: how they are, and which API they document."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from trenza.chassis.context import current_context
from trenza.chassis.gateway.upstream import Upstream, UpstreamBroke
from trenza.chassis.peers import Replica

__all__ = ["ask"]

_MOST_BYTES: Final = 16 * 1024 * 1024


async def ask(upstream: Upstream, replica: Replica, path: str) -> tuple[int, bytes]:
    """``GET`` a path of one replica: its status and body, 16 MB at most. Raises `UpstreamBroke`; the caller bounds the time."""
    connection = await upstream.connect(replica)
    try:
        connection.begin(head_only=False)
        host, correlation_id = urlsplit(replica.url).netloc, current_context().correlation_id
        connection.write(
            f"GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\n"
            f"x-correlation-id: {correlation_id}\r\nconnection: close\r\n\r\n".encode()
        )
        await connection.head()
        body = bytearray()
        while data := await connection.read():
            body += data
            if len(body) > _MOST_BYTES:
                raise UpstreamBroke(f"more than {_MOST_BYTES} bytes at {path}")
        return connection.status, bytes(body)
    finally:
        connection.end()
        connection.abort()
