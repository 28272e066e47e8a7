"""A callee on a real socket that answers each request as a test wants, or does not."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

__all__ = ["Behaviour", "ScriptedServer", "answer", "broke", "garbage", "hang", "not_run", "reset", "result", "vanish"]

Behaviour = Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]


class ScriptedServer:
    """Takes one behaviour for each request, the last one for all that follow. ``requests`` are the heads it has read."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self._behaviours = list(behaviours)
        self.requests: list[str] = []
        self.connections = 0
        self.ended = asyncio.Event()
        """A client has closed a connection."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._read = asyncio.Event()
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def running(cls, *behaviours: Behaviour) -> AsyncIterator[ScriptedServer]:
        server = cls(*behaviours)
        listener = await asyncio.start_server(server._serve, "127.0.0.1", 0)
        server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        try:
            yield server
        finally:
            listener.close()
            server.drop()
            await listener.wait_closed()

    async def asked(self, times: int) -> None:
        """Wait until it has read so many requests."""
        async with asyncio.timeout(10):
            while len(self.requests) < times:
                self._read.clear()
                await self._read.wait()

    def drop(self) -> None:
        """End all connections by a reset."""
        for writer in self._writers:
            _abort(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while not writer.is_closing():
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                    await reader.readexactly(int(length[1]) if length else 0)
                    self.requests.append(head)
                    self._read.set()
                    behave = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
                    if not await _while_the_client_stays(reader, behave(writer)):
                        return
                    await writer.drain()
        finally:
            self.ended.set()
            self._writers.discard(writer)
            writer.close()


async def _while_the_client_stays(reader: asyncio.StreamReader, behaving: Coroutine[Any, Any, None]) -> bool:
    """Whether it came to its end before the client closed the connection."""
    answering, leaving = asyncio.ensure_future(behaving), asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return answering.done()
    finally:
        for each in (answering, leaving):
            each.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


def answer(status: int, headers: dict[str, str], body: bytes) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items()), f"content-length: {len(body)}"]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return behave


def result(value: bytes = b"1") -> Behaviour:
    return answer(200, {"trenza-outcome": "result"}, b'{"result": ' + value + b"}")


def not_run(status: int = 503, **headers: str) -> Behaviour:
    words = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(status, {"trenza-outcome": "not-run", **words}, b'{"detail": "draining"}')


broke = answer(502, {"trenza-outcome": "broke"}, b"{}")


async def reset(writer: asyncio.StreamWriter) -> None:
    """The connection is reset after the request was read."""
    _abort(writer)


async def vanish(writer: asyncio.StreamWriter) -> None:
    """The connection is closed without an answer."""
    writer.close()


async def garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")


async def hang(_writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


def _abort(writer: asyncio.StreamWriter) -> None:
    line = writer.get_extra_info("socket")
    if line is not None and not writer.is_closing():
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
