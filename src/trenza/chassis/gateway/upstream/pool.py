"""The connections to the replicas of one service: kept while idle, made when needed."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import Final
from urllib.parse import urlsplit

from trenza.chassis.gateway.upstream.connection import UpstreamConnection
from trenza.chassis.gateway.upstream.errors import NotSent
from trenza.chassis.peers import KEEP_ALIVE_SECONDS, Replica, Replicas

__all__ = ["Upstream"]

_SILENCE_SECONDS: Final = 15
_UNACKNOWLEDGED_MS: Final = 20_000
"""As in `trenza.chassis.peers`: how a peer that vanished without a word is found out."""


class Upstream:
    """The replicas of one service (``replicas``), with their connections. Use it within one event loop."""

    def __init__(self, service: str, urls: tuple[str, ...], *, connect_seconds: float, tls: ssl.SSLContext | None) -> None:
        self.replicas = Replicas(service, urls)
        self._connect_seconds = connect_seconds
        secure = any(url.startswith("https:") for url in urls)
        self.tls = tls or (ssl.create_default_context() if secure else None)
        """Whom ``https`` upstreams must be signed by: ``tls``, else the authorities that the system trusts."""
        self._idle: dict[Replica, list[UpstreamConnection]] = {replica: [] for replica in self.replicas.all}
        self._sweep: asyncio.TimerHandle | None = None

    def kept(self, replica: Replica) -> UpstreamConnection | None:
        """An idle connection, the one used last; None where there is none."""
        idle = self._idle[replica]
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        return None

    async def connect(self, replica: Replica) -> UpstreamConnection:
        """A new connection. Raises `NotSent`."""
        parts = urlsplit(replica.url)
        secure = parts.scheme == "https"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                transport, connection = await loop.create_connection(
                    lambda: UpstreamConnection(loop),
                    parts.hostname or "",
                    parts.port or (443 if secure else 80),
                    ssl=self.tls if secure else None,
                )
        except TimeoutError as error:
            raise NotSent(f"no connection within {self._connect_seconds:g} s", self._connect_seconds) from error
        except OSError as error:
            raise NotSent(f"no connection: {error.strerror or error}") from error
        _watch_peer(transport.get_extra_info("socket"))
        return connection

    def give_back(self, replica: Replica, connection: UpstreamConnection) -> None:
        """Keep a connection for the next request."""
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle[replica].append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(KEEP_ALIVE_SECONDS / 2, self._close_old)

    def leave(self, replica: Replica) -> None:
        """Close the idle connections to a replica that is about to close them itself."""
        for connection in self._idle[replica]:
            connection.abort()
        self._idle[replica].clear()

    def close(self) -> None:
        """Close all that is idle."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for replica in self._idle:
            self.leave(replica)

    def _close_old(self) -> None:
        """Close what has been idle for so long that the other side may be about to."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEEP_ALIVE_SECONDS / 2
        left = False
        for replica, idle in self._idle.items():
            for connection in idle:
                if connection.idle_since <= oldest:
                    connection.abort()
            self._idle[replica] = [connection for connection in idle if not connection.closed]
            left = left or bool(self._idle[replica])
        self._sweep = loop.call_later(KEEP_ALIVE_SECONDS / 2, self._close_old) if left else None


def _watch_peer(bound: socket.socket | None) -> None:
    if bound is None:
        return
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE_SECONDS)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
