from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path

import httpx
import psutil
import pytest
from tests.chassis.gateway.serving import Script, answering, door, program, raw, scripted

from trenza.chassis.gateway import GatewayRoute
from trenza.chassis.testing.server_process import free_port

MEGABYTE = 1024 * 1024
LARGE = int(os.environ.get("GATEWAY_STREAM_MB", "2048"))
"""Megabytes of the large transfers."""
MOST_GROWTH = 48 * MEGABYTE


def photos(upstream: Script) -> GatewayRoute:
    return GatewayRoute("photos", ("/api/photos",), (upstream.url,))


@pytest.mark.timeout(300)
async def test_gigabytes_pass_both_ways_in_constant_memory(tmp_path: Path) -> None:
    chunk = os.urandom(MEGABYTE)
    async with (
        program("upstream_program.py", free_port()) as upstream,
        program("gateway_program.py", free_port(), folder=str(tmp_path), urls=[upstream.url]) as front,
    ):
        process = psutil.Process(front.process.pid)
        peak = 0

        async def parts(count: int) -> object:
            nonlocal peak
            for _ in range(count):
                yield chunk
                peak = max(peak, process.memory_info().rss)

        async with httpx.AsyncClient(base_url=front.url, trust_env=False, timeout=240) as client:
            await client.put("/api/photos/echo", content=chunk * 8)
            before = process.memory_info().rss
            answer = await client.put("/api/photos/echo", content=parts(LARGE))  # type: ignore[arg-type]  # an async iterator
            digest = hashlib.sha256()
            for _ in range(LARGE):
                digest.update(chunk)
            assert (answer.json()["bytes"], answer.json()["sha256"]) == (LARGE * MEGABYTE, digest.hexdigest())
            size = 0
            async with client.stream("GET", f"/api/photos/stream?megabytes={LARGE}") as download:
                async for data in download.aiter_bytes(MEGABYTE):
                    size += len(data)
                    peak = max(peak, process.memory_info().rss)
            assert size == LARGE * MEGABYTE
        assert peak - before < MOST_GROWTH


async def test_a_client_that_takes_nothing_holds_the_upstream_back(tmp_path: Path) -> None:
    sent = 0

    async def pour(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * MEGABYTE))
        held_up.clear()
        for _ in range(256):
            writer.write(b"x" * MEGABYTE)
            sent += 1
            try:
                async with asyncio.timeout(1):
                    await writer.drain()
            except TimeoutError:
                held_up.set()
                await writer.drain()

    held_up = asyncio.Event()
    async with scripted(pour) as upstream, door(tmp_path, photos(upstream)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port, limit=MEGABYTE)
        writer.write(b"GET /api/photos HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await held_up.wait()
        assert sent < 64
        size = 0
        while data := await reader.read(MEGABYTE):
            size += len(data)
        assert size == 256 * MEGABYTE
        writer.close()


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nha",
    ],
)
@pytest.mark.parametrize("reset", [True, False])
async def test_half_an_answer_never_looks_whole(tmp_path: Path, begun: bytes, reset: bool) -> None:  # noqa: FBT001 - a parameter
    async def break_off(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(begun)
        await writer.drain()
        await go_on.wait()
        if reset:
            writer.transport.abort()

    go_on = asyncio.Event()
    async with (
        scripted(break_off) as upstream,
        door(tmp_path, photos(upstream)) as front,
        front.client.stream("GET", "/api/photos") as answer,
    ):
        assert answer.status_code == 200
        go_on.set()
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()


async def test_an_answer_without_a_length_ends_with_its_connection(tmp_path: Path) -> None:
    async def old(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")
        await writer.drain()

    async with scripted(old) as upstream, door(tmp_path, photos(upstream)) as front:
        for _ in range(2):
            assert (await front.client.get("/api/photos")).text == "all of it"
        assert upstream.connections == 2


async def test_answers_without_a_body_leave_the_connection_usable(tmp_path: Path) -> None:
    answers = {
        b"HEAD": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        b"GET ": b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 1000\r\n\r\n",
        b"DELE": b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        b"PATC": b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nab",
    }

    async def take(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await script.read_head(reader)
            writer.write(answers[head[:4]])
            await writer.drain()

    async with scripted(take) as upstream, door(tmp_path, photos(upstream)) as front:
        for _ in range(3):
            head = await front.client.head("/api/photos")
            assert (head.status_code, head.headers["content-length"], head.content) == (200, "1000", b"")
            unchanged = await front.client.get("/api/photos", headers={"If-None-Match": "x"})
            assert (unchanged.status_code, unchanged.content) == (304, b"")
            assert (await front.client.delete("/api/photos")).status_code == 204
            part = await front.client.patch("/api/photos", headers={"Range": "bytes=0-1"})
            assert (part.status_code, part.headers["content-range"], part.content) == (206, "bytes 0-1/9", b"ab")
        assert upstream.connections == 1
        assert sum(b"range: bytes=0-1" in head.lower() for head in upstream.heads) == 3


async def test_what_comes_unasked_is_never_given_to_another_client(tmp_path: Path) -> None:
    twice = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

    async def take(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(script, reader, writer, twice)

    async with scripted(take) as upstream, door(tmp_path, photos(upstream)) as front:
        assert [(await front.client.get("/api/photos")).text for _ in range(3)] == ["ok"] * 3
        assert upstream.connections == 3


async def test_the_body_waits_for_the_service_to_ask_for_it(tmp_path: Path) -> None:
    async def take(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await script.read_head(reader)
        assert b"expect: 100-continue" in head
        if b"/refused" in head:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            await writer.drain()
            assert await reader.read() == b""
            return
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(5) == b"hello"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    async with scripted(take) as upstream, door(tmp_path, photos(upstream)) as front:
        for path, last in (("/api/photos/taken", b"200"), ("/api/photos/refused", b"403")):
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            expecting = f"POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\n"
            writer.write(expecting.encode() + b"Content-Length: 5\r\n\r\n")
            if last == b"200":
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
                writer.write(b"hello")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 " + last)
            writer.close()


async def test_an_upstream_learns_that_the_client_has_left(tmp_path: Path) -> None:
    async def take(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await script.read_head(reader)
        asked.set()
        if b"/begun" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        elif b"/uploading" in head:
            await reader.readexactly(3)
            begun.set()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        left.set()

    asked, begun, left = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with scripted(take) as upstream, door(tmp_path, photos(upstream)) as front:
        for path in ("waiting", "begun", "uploading"):
            for event in (asked, begun, left):
                event.clear()
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            if path == "uploading":
                writer.write(b"POST /api/photos/uploading HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
                await begun.wait()
            else:
                writer.write(f"GET /api/photos/{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            await asked.wait()
            if path == "begun":
                await reader.readuntil(b"a\r\n")
            writer.close()
            async with asyncio.timeout(10):
                await left.wait()
        assert front.gateway.states()[0]["breaker"] == "closed"


async def test_an_early_answer_ends_a_long_upload(tmp_path: Path) -> None:
    async def take(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlong")
        await writer.drain()
        await reader.read()

    async with scripted(take) as upstream, door(tmp_path, photos(upstream)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"POST /api/photos HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nabc")
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer.lower()
        assert answer.endswith(b"long")


async def test_events_come_one_by_one(tmp_path: Path) -> None:
    async def take(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            event = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await seen.acquire()
        writer.write(b"0\r\n\r\n")

    seen = asyncio.Semaphore(0)
    async with scripted(take) as upstream, door(tmp_path, photos(upstream)) as front:
        async with front.client.stream("GET", "/api/photos/events") as answer:
            found = []
            async for line in answer.aiter_lines():
                if line:
                    found.append(line)
                    seen.release()
        assert found == [f"data: {number}" for number in range(5)]


async def test_pipelined_requests_get_their_own_answers(tmp_path: Path) -> None:
    async def take(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await script.read_head(reader)
            path = head.split()[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))

    async with scripted(take) as upstream, door(tmp_path, photos(upstream)) as front:
        one = b"GET /api/photos/%d HTTP/1.1\r\nHost: a\r\n%s\r\n"
        answer = await raw(front.port, one % (1, b"") + one % (2, b"") + one % (3, b"Connection: close\r\n"))
        assert [line for line in answer.split(b"\r\n") if line.startswith(b"/api/photos/")] != []
        assert answer.index(b"/api/photos/1") < answer.index(b"/api/photos/2") < answer.index(b"/api/photos/3")
