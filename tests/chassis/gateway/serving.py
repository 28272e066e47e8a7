"""Real servers for the tests of the gateway: a gateway and upstreams on sockets of this process, scripts, and other processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.gateway import Gateway, GatewayDeclarations, GatewayRoute, GatewaySettings
from trenza.chassis.runtime.connections import BoundedHttpProtocol
from trenza.chassis.runtime.server import bind
from trenza.chassis.settings import PlatformSettings

HERE = Path(__file__).parent


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: ASGIApp, port: int = 0) -> AsyncIterator[int]:
    """Serve an application as the runtime does, on a port of loopback."""
    config = uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    with bind("127.0.0.1", port) as bound:
        task = asyncio.create_task(server.serve(sockets=[bound]))
        await server.listening.wait()
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@dataclass
class Door:
    """A gateway that is served, and the key that it trusts."""

    gateway: Gateway
    port: int
    key: SigningKey
    client: httpx.AsyncClient

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def settings_of(tmp_path: Path, **more: Any) -> PlatformSettings:
    return PlatformSettings(data_dir=tmp_path, **more)


@asynccontextmanager
async def door(
    tmp_path: Path,
    *routes: GatewayRoute,
    inner: ASGIApp | None = None,
    declared: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **more: Any,
) -> AsyncIterator[Door]:
    """A gateway before these services."""
    key = SigningKey.load_or_create(tmp_path / "signing.pem")
    gateway = Gateway(
        inner,
        routes,
        settings_of(tmp_path, **(settings or {})),
        verifier=TokenVerifier([key]),
        declared=GatewayDeclarations.model_validate(declared or {}),
        options=GatewaySettings(**(options or {})),
        **more,
    )
    async with serving(gateway) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        try:
            yield Door(gateway, port, key, client)
        finally:
            await gateway.close()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Script:
    """An upstream that does, connection by connection, what a test wants, and keeps the heads of requests that it read."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def read_head(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        return head


@asynccontextmanager
async def scripted(act: Callable[[Script, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Script]:
    """An upstream that acts by hand on each connection; it is cut when the act ends."""
    script = Script()
    tasks: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await act(script, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway hung up
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def answering(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
    """Answer every request without a body in the same way."""
    while True:
        await script.read_head(reader)
        writer.write(answer)
        await writer.drain()


async def raw(port: int, request: bytes) -> bytes:
    """Send bytes and return all that comes back until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


@dataclass
class Program:
    """A process that serves; it has said that it listens."""

    process: asyncio.subprocess.Process
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def drain(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@asynccontextmanager
async def program(file: str, port: int, **options: Any) -> AsyncIterator[Program]:
    """Run ``file`` (one beside this one) as a process, and wait until it says that it listens."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(HERE / file), json.dumps({"port": port, **options})),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[2])},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        assert line == b"up\n", line
        yield Program(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def door_of(folder: Path, urls: list[str], options: dict[str, Any]) -> Gateway:
    """A gateway before one service, ``photos``."""
    key = SigningKey.load_or_create(folder / "signing.pem")
    route = GatewayRoute("photos", ("/api/photos",), tuple(urls))
    return Gateway(None, (route,), settings_of(folder), verifier=TokenVerifier([key]), options=GatewaySettings(**options))
