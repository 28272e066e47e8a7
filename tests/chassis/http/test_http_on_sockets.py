"""What only a real server and a real connection show."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request

from trenza.chassis.http.uploads import receive_form

HEAD = b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Type: multipart/form-data; boundary=B\r\n"
PART = b'--B\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'


@dataclass
class Served:
    """A running server, and whether its route has begun and ended."""

    port: int
    spool: Path
    begun: asyncio.Event
    ended: asyncio.Event

    def in_spool(self) -> int:
        return sum(1 for _ in self.spool.iterdir())


def listening_socket() -> socket.socket:
    """A socket on a free port below the ephemeral ones."""
    while True:
        candidate = socket.socket()
        try:
            candidate.bind(("127.0.0.1", random.randint(20_000, 30_000)))  # noqa: S311 - any free port will do
        except OSError:
            candidate.close()
        else:
            return candidate


@pytest.fixture
async def served(app: FastAPI, tmp_path: Path) -> AsyncIterator[Served]:
    """The application behind uvicorn, with a route that takes one file of up to 20 MB."""
    listener = listening_socket()
    spool = tmp_path / "spool"
    spool.mkdir()
    state = Served(listener.getsockname()[1], spool, asyncio.Event(), asyncio.Event())

    def new_file() -> Path:
        return spool / uuid4().hex

    @app.post("/upload")
    async def upload(request: Request) -> int:
        state.begun.set()
        try:
            async with await receive_form(request, spool=new_file, max_file_bytes=20_000_000, max_files=1) as form:
                return form.files[0].size
        finally:
            state.ended.set()

    @app.post("/refuses")
    async def refuses() -> str:
        return "no"

    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield state
    server.should_exit = True
    await serving


async def test_a_large_file_is_taken_over_a_socket(served: Served) -> None:
    content = bytes(range(256)) * 40_000
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        answer = await client.post("/upload", files={"file": ("x", content)})
    assert answer.json() == len(content)
    assert served.in_spool() == 0


async def test_a_broken_connection_leaves_no_files(served: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(HEAD + b"Content-Length: 9000000\r\n\r\n" + PART + b"x" * 3_000_000)
    await writer.drain()
    async with asyncio.timeout(10):
        await served.begun.wait()
        writer.close()
        await writer.wait_closed()
        await served.ended.wait()
    assert served.in_spool() == 0


async def test_too_large_a_length_is_refused_at_once_and_the_connection_closed(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(HEAD + b"Content-Length: 90000000\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()  # to the end: the server must close
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"UPLOAD_TOO_LARGE"' in answer


async def test_a_body_that_nobody_wants_does_not_hold_the_connection(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /refuses HTTP/1.1\r\nHost: test\r\nContent-Length: 5000000\r\n\r\nx")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b"connection: close" in answer
