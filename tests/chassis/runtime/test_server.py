from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from trenza.chassis.runtime.server import AddressUnusable, bind

PROGRAM = Path(__file__).with_name("served.py")


@asynccontextmanager
async def serving(port: int, *, drain: float = 10, unready: float = 0) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments = (str(PROGRAM), str(port), str(drain), str(unready))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"up\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(process: asyncio.subprocess.Process, within: float = 15) -> tuple[int, bytes]:
    assert process.stdout is not None
    code = await asyncio.wait_for(process.wait(), within)
    return code, await process.stdout.read()


async def cut_off(request: asyncio.Task[httpx.Response]) -> bool:
    """Whether a request that was not waited for told its client so."""
    try:
        return (await request).is_server_error
    except httpx.TransportError:
        return True


async def raw(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_running_request_finishes_and_the_exit_code_is_0(free_port: int, number: signal.Signals) -> None:
    async with serving(free_port) as process, httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port}") as client:
        request = asyncio.create_task(client.get("/slow", params={"seconds": 0.7}))
        assert (await client.get("/ready")).json() is True
        process.send_signal(number)
        response = await request
        assert response.json() == "done"
        assert response.headers["connection"] == "close"
        code, printed = await ended(process)
    assert code == 0
    assert printed == b"drained\n"


async def test_the_listener_stays_open_and_unready_for_as_long_as_asked(free_port: int) -> None:
    async with serving(free_port, unready=1.0) as process, httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port}") as client:
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        while (await client.get("/ready")).json() is True:
            assert time.monotonic() - began < 0.9
        assert (await client.get("/slow", params={"seconds": 0})).json() == "done"  # new work is still answered
        code, _ = await ended(process)
    assert code == 0
    assert time.monotonic() - began >= 1.0


async def test_the_drain_is_bounded(free_port: int) -> None:
    async with serving(free_port, drain=0.5) as process, httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port}") as client:
        request = asyncio.create_task(client.get("/slow", params={"seconds": 30}))
        assert (await client.get("/ready")).json() is True
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        code, printed = await ended(process)
        assert await cut_off(request)
    assert time.monotonic() - began < 3
    assert code == 0
    assert printed == b"drained\n"


async def test_a_second_signal_forces(free_port: int) -> None:
    async with serving(free_port, drain=60) as process, httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port}") as client:
        request = asyncio.create_task(client.get("/slow", params={"seconds": 30}))
        assert (await client.get("/ready")).json() is True
        process.send_signal(signal.SIGINT)
        while True:  # until it has seen the first one: two signals at once are one to the kernel
            try:
                if not (await client.get("/ready")).json():
                    break
            except httpx.TransportError:
                break
        process.send_signal(signal.SIGINT)
        code, _ = await ended(process)
        assert await cut_off(request)
    assert code == 130


async def test_no_request_on_a_kept_connection_is_lost(free_port: int) -> None:
    """Clients that send one request after the other see either an answer or a refused connection, never a cut."""
    stopped_at: list[float] = []

    async def ask(client: httpx.AsyncClient) -> int:
        answered = 0
        while True:
            try:
                response = await client.get("/slow", params={"seconds": 0.005})
            except httpx.ConnectError:
                assert stopped_at
                return answered
            assert response.json() == "done"
            answered += 1

    async with serving(free_port) as process:
        clients = [httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port}") for _ in range(8)]
        asking = [asyncio.create_task(ask(client)) for client in clients]
        await asyncio.wait(asking, timeout=0.7)
        stopped_at.append(time.monotonic())
        process.send_signal(signal.SIGTERM)
        answered = await asyncio.gather(*asking)
        for client in clients:
            await client.aclose()
        code, _ = await ended(process)
    assert code == 0
    assert all(answered)


async def test_a_head_without_end_is_refused(free_port: int) -> None:
    async with serving(free_port):
        endless = b"GET /ready HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(80))
        answer = await asyncio.wait_for(raw(free_port, endless), 10)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"application/problem+json" in answer
        at_once = await raw(free_port, b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert at_once.startswith(b"HTTP/1.1 431 ")
        assert b'"code":"HEADERS_TOO_LARGE"' in at_once
        fine = await raw(free_port, b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + b"y" * 20_000 + b"\r\n\r\n")
        assert fine.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nserver:" not in fine.lower()


async def test_what_is_no_http_gets_a_problem_document(free_port: int) -> None:
    async with serving(free_port):
        answer = await asyncio.wait_for(raw(free_port, b"\x16\x03\x01 this is no HTTP\r\n\r\n"), 10)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n")
        problem = json.loads(body)
        assert (problem["status"], problem["code"]) == (400, "MALFORMED_HTTP")
        assert problem["remedy"]


async def test_a_head_that_does_not_come_is_not_waited_for(free_port: int) -> None:
    async with serving(free_port):
        began = time.monotonic()
        assert await asyncio.wait_for(raw(free_port, b"GET /ready HT"), 20) == b""
        assert 9 < time.monotonic() - began < 15


def test_a_port_in_use_is_one_line_with_a_remedy(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)), pytest.raises(AddressUnusable) as refusal:
        bind("127.0.0.1", free_port)
    assert (
        str(refusal.value)
        == f"port {free_port} on 127.0.0.1 is in use: stop what uses it, or choose another (--port, or its url)"
    )


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(AddressUnusable, match="choose another with --host"):
        bind("192.0.2.1", 0)
    with pytest.raises(AddressUnusable, match="name an address of this machine with --host"):
        bind("no.such.host.invalid", 8000)


def test_port_0_chooses_a_free_one() -> None:
    with bind("127.0.0.1", 0) as bound:
        assert bound.getsockname()[1] > 0
