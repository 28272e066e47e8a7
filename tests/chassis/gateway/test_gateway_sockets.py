from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket, WebSocketException
from tests.chassis.gateway.serving import Door, Script, door, scripted, serving
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.gateway import GatewayRoute
from trenza.chassis.testing.server_process import free_port

MEGABYTE = 1024 * 1024


class Upstream:
    """A service with WebSockets, and what it saw."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.headers: list[dict[str, str]] = []
        self.codes: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

        @self.app.websocket("/api/chat/echo")
        async def echo(socket: WebSocket) -> None:
            self.headers.append(dict(socket.headers))
            await socket.accept("chat.v2" if "chat.v2" in socket.scope["subprotocols"] else None)
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    await self.codes.put((message["code"], message.get("reason") or ""))
                    return
                if message.get("text") == "close":
                    await socket.close(4001, "enough")
                    return
                if (text := message.get("text")) is not None:
                    await socket.send_text(text)
                else:
                    await socket.send_bytes(message["bytes"])

        @self.app.websocket("/api/chat/refused")
        async def refused(_socket: WebSocket) -> None:
            raise WebSocketException(1008)


@asynccontextmanager
async def chat(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Upstream, Door]]:
    upstream = Upstream()
    async with serving(upstream.app) as port:
        route = GatewayRoute("chat", ("/api/chat",), (f"http://127.0.0.1:{port}",))
        async with door(tmp_path, route, settings=settings) as front:
            yield upstream, front


def opened(front: Door, path: str = "/api/chat/echo", **options: Any) -> connect:
    return connect(f"ws://127.0.0.1:{front.port}{path}", proxy=None, max_size=None, **options)


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    with pytest.raises(ConnectionClosed):
        await socket.recv()
    return socket.close_code, socket.close_reason


async def test_messages_pass_both_ways_as_they_are(tmp_path: Path) -> None:
    async with chat(tmp_path) as (upstream, front):
        token = issue_token(front.key, "ana", (), timedelta(minutes=5))
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "6.6.6.6", "X-Correlation-ID": "abc-1"}
        async with opened(
            front, "/api/v1/chat/echo?a=b", subprotocols=[Subprotocol("chat.v2")], additional_headers=headers
        ) as socket:
            assert socket.subprotocol == "chat.v2"
            for sent in ("hóla", b"\x00\xff", "x" * 3 * MEGABYTE, b"y" * 15 * MEGABYTE, ""):
                await socket.send(sent)
                assert await socket.recv() == sent
            await (await socket.ping())
        seen = upstream.headers[0]
        assert seen["authorization"] == f"Bearer {token}"
        assert seen["x-forwarded-for"] == "127.0.0.1"
        assert seen["x-correlation-id"] == "abc-1"
        assert seen["host"] == f"127.0.0.1:{front.port}"


async def test_close_codes_pass_both_ways(tmp_path: Path) -> None:
    async with chat(tmp_path) as (upstream, front):
        async with opened(front) as socket:
            await socket.send("close")
            assert await closed(socket) == (4001, "enough")
        async with opened(front) as socket:
            await socket.close(4002, "bye")
        assert await upstream.codes.get() == (4002, "bye")
        async with opened(front) as socket:
            socket.transport.abort()
        assert (await upstream.codes.get())[0] in (1000, 1001)


async def test_a_message_over_the_limit_ends_the_connection_with_its_code(tmp_path: Path) -> None:
    async with chat(tmp_path) as (_, front), opened(front) as socket:
        await socket.send(b"z" * 17 * MEGABYTE)
        assert (await closed(socket))[0] == 1009


async def test_pages_of_other_origins_are_refused(tmp_path: Path) -> None:
    async with chat(tmp_path, cors_origins=("https://app.example",), public_url="https://api.example") as (upstream, front):
        for origin in ("https://app.example", "https://api.example", front.url):
            async with opened(front, origin=Origin(origin)) as socket:
                await socket.send("x")
                assert await socket.recv() == "x"
        asked = len(upstream.headers)
        for origin in ("https://evil.example", "null", "https://app.example.evil.example"):
            with pytest.raises(InvalidStatus) as refused:
                await opened(front, origin=Origin(origin))
            assert refused.value.response.status_code == 403
            assert b"ORIGIN_NOT_ALLOWED" in (refused.value.response.body or b"")
        assert len(upstream.headers) == asked


async def test_origins_are_checked_for_a_service_of_this_process_too(tmp_path: Path) -> None:
    upstream = Upstream()
    async with door(tmp_path, GatewayRoute("chat", ("/api/chat",)), inner=upstream.app) as front:
        async with opened(front, "/chat/echo", origin=Origin(front.url)) as socket:
            await socket.send("x")
            assert await socket.recv() == "x"
        with pytest.raises(InvalidStatus):
            await opened(front, origin=Origin("https://evil.example"))


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/api/chat/echo", {"Authorization": "Bearer nonsense"}, 401, b"INVALID_TOKEN"),
        ("/api/chat/echo", {"Authorization": "Passport x"}, 401, b"INVALID_TOKEN"),
        ("/_call/chat/echo", {}, 404, b"NOT_FOUND"),
        ("/nowhere", {}, 404, b"NOT_FOUND"),
        ("/api/chat/refused", {}, 403, b""),
    ],
)
async def test_refusals_are_told_in_the_handshake(
    tmp_path: Path, path: str, headers: dict[str, str], status: int, code: bytes
) -> None:
    async with chat(tmp_path) as (_, front):
        with pytest.raises(InvalidStatus) as refused:
            await opened(front, path, additional_headers=headers)
        assert refused.value.response.status_code == status
        assert code in (refused.value.response.body or b"")


async def test_a_replica_that_is_down_is_passed_over_and_a_service_that_is_down_is_told(tmp_path: Path) -> None:
    upstream = Upstream()
    async with serving(upstream.app) as port:
        urls = (f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{port}")
        chatting, down = GatewayRoute("chat", ("/api/chat",), urls), GatewayRoute("down", ("/api/down",), urls[:1])
        async with door(tmp_path, chatting, down) as front:
            for _ in range(4):
                async with opened(front) as socket:
                    await socket.send("x")
                    assert await socket.recv() == "x"
            with pytest.raises(InvalidStatus) as refused:
                await opened(front, "/api/down")
            assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (503, "5")


async def test_an_upstream_that_breaks_off_closes_with_an_error(tmp_path: Path) -> None:
    async def accept_and_die(_script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = ServerProtocol()
        while not (events := server.events_received()):
            server.receive_data(await reader.read(4096))
        assert isinstance(events[0], Request)
        server.send_response(server.accept(events[0]))
        writer.writelines(server.data_to_send())
        await writer.drain()
        await die.wait()
        writer.transport.abort()

    die = asyncio.Event()
    async with (
        scripted(accept_and_die) as upstream,
        door(tmp_path, GatewayRoute("chat", ("/api/chat",), (upstream.url,))) as front,
        opened(front, "/api/chat") as socket,
    ):
        die.set()
        assert (await closed(socket))[0] == 1011


async def test_a_client_that_takes_nothing_holds_the_upstream_back(tmp_path: Path) -> None:
    """Messages are neither dropped nor piled up in the gateway."""
    sent = 0
    held_up = asyncio.Event()
    noise = os.urandom(MEGABYTE)  # what compresses well would fit into the buffers
    app = FastAPI()

    @app.websocket("/api/chat/pour")
    async def pour(socket: WebSocket) -> None:
        nonlocal sent
        await socket.accept()
        for _ in range(200):
            pending = asyncio.ensure_future(socket.send_bytes(noise))
            done, _ = await asyncio.wait({pending}, timeout=1)
            if not done:
                held_up.set()
            await pending
            sent += 1
        await socket.close()

    async with serving(app) as port:
        route = GatewayRoute("chat", ("/api/chat",), (f"http://127.0.0.1:{port}",))
        async with door(tmp_path, route) as front, opened(front, "/api/chat/pour", ping_interval=None) as socket:
            socket.transport.pause_reading()
            async with asyncio.timeout(30):
                await held_up.wait()
            assert sent < 80
            socket.transport.resume_reading()
            assert len([message async for message in socket]) == 200
