"""A TCP proxy on loopback whose lines can be cut, stalled and throttled: the network between a service and its servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

from trenza.chassis.testing.server_process import free_port

__all__ = ["TcpProxy"]

_CHUNK = 16 * 1024


class TcpProxy:
    """Passes bytes between whoever connects to ``port`` and a target, until it is told otherwise."""

    def __init__(self, host: str, port: int, *, listens_on: int | None = None) -> None:
        """``host`` and ``port`` are the target's; ``listens_on`` is a port of ours, else a free one.

        A ``host`` that begins with ``/`` is the path of a unix socket, which has no port.
        """
        self.port = listens_on or free_port()
        self.seconds_a_chunk = 0.0
        """How long each 16 KiB are held up."""
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._flowing, self._answering = asyncio.Event(), asyncio.Event()
        self.flow()
        self._lines: set[asyncio.StreamWriter] = set()
        self._count = 0
        self._counted = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def before(cls, host: str, port: int, *, listens_on: int | None = None) -> AsyncIterator[Self]:
        """A proxy that listens for the block."""
        proxy = cls(host, port, listens_on=listens_on)
        await proxy.listen()
        try:
            yield proxy
        finally:
            proxy.flow()
            await proxy.refuse()

    async def listen(self) -> None:
        """Take connections (again)."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Take no connections, and end those that there are."""
        if self._server is not None:
            self._server.close()
            self.cut()
            await self._server.wait_closed()

    def cut(self) -> None:
        """End the connections that there are."""
        for line in self._lines:
            line.transport.abort()

    def stall(self) -> None:
        """Take connections and bytes, and pass nothing on."""
        self._flowing.clear()

    def hold_answers(self) -> None:
        """Pass on what clients say, but nothing of what they are answered."""
        self._answering.clear()

    def flow(self) -> None:
        """Pass everything on again, what was held back first."""
        self._flowing.set()
        self._answering.set()

    async def passed(self, count: int) -> None:
        """Wait until so many bytes more have been passed on, in both directions and over all connections."""
        wanted = self._count + count
        async with self._counted:
            await self._counted.wait_for(lambda: self._count >= wanted)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target
        opening = asyncio.open_unix_connection(host) if host.startswith("/") else asyncio.open_connection(host, port)
        try:
            there, back = await opening
        except OSError:  # nobody listens there
            writer.transport.abort()
            return
        self._lines |= {writer, back}
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer, self._answering))
        finally:
            self._lines -= {writer, back}
            writer.close()
            back.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None = None) -> None:
        with suppress(ConnectionError):  # cut, or closed by one of the two: the other learns of it by the end of its line
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                if gate is not None:
                    await gate.wait()
                await asyncio.sleep(self.seconds_a_chunk)
                writer.write(data)
                await writer.drain()
                async with self._counted:
                    self._count += len(data)
                    self._counted.notify_all()
        with suppress(OSError, RuntimeError):  # it is gone already
            writer.write_eof()
