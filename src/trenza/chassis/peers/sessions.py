"""The one HTTP client session of a process for requests to other processes of the platform."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import Any

import aiohttp

from trenza.chassis.peers.limits import CONNECT_SECONDS, KEEP_ALIVE_SECONDS

__all__ = ["open_session"]

_SILENCE_SECONDS = 15
"""After so long without a byte the kernel asks whether the peer is still there; three unanswered questions, 5 s apart, end it."""
_UNACKNOWLEDGED_MS = 20_000
"""How long sent bytes may stay unacknowledged (RFC 5482) before the connection ends: its peer vanished without a word."""


def open_session(
    *, tls: ssl.SSLContext | None = None, connections: int = 0, connections_per_peer: int = 0
) -> aiohttp.ClientSession:
    """A session that passes bytes on as they are; call it within a running loop and close it there.

    It decompresses nothing, keeps no cookies, reads no proxies from the environment and adds no headers but those of HTTP itself.
    Redirects are for the caller to refuse: pass ``allow_redirects=False`` with each request. No time bounds but that of making a
    connection: whoever asks has a deadline. ``tls`` is what `client_tls` gives, for ``https``; 0 connections are any number.
    """
    connector = aiohttp.TCPConnector(
        limit=connections,
        limit_per_host=connections_per_peer,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        ttl_dns_cache=5,  # replicas behind one name come and go
        ssl=tls if tls is not None else True,
        socket_factory=_socket,
        loop=asyncio.get_running_loop(),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
    )


def _socket(address: Any) -> socket.socket:
    """A socket that learns of a peer which is gone without a word."""
    made = socket.socket(family=address[0], type=address[1], proto=address[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE_SECONDS)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
    return made
