from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.chassis.gateway.serving import Door, Script, answering, door, program, scripted

from trenza.chassis.gateway import GatewayRoute
from trenza.chassis.testing.server_process import free_port
from trenza.chassis.testing.tcp_proxy import TcpProxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNREADY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\nRetry-After: 5\r\n\r\nbad"


def photos(*urls: str) -> GatewayRoute:
    return GatewayRoute("photos", ("/api/photos",), urls)


def nobody() -> str:
    return f"http://127.0.0.1:{free_port()}"


async def ok(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = await script.read_head(reader)
        length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0)
        await reader.readexactly(length)
        writer.write(OK)
        await writer.drain()


async def unready(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await answering(script, reader, writer, UNREADY)


async def hang_up(script: Script, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await script.read_head(reader)


async def silence(script: Script, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await script.read_head(reader)
    await reader.read()


async def metric(front: Door, name: str, **labels: str) -> float:
    text = (await front.client.get("/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


async def test_a_service_that_is_down_costs_its_own_features_and_no_others(tmp_path: Path) -> None:
    async with scripted(ok) as upstream:
        fleet = GatewayRoute("fleet", ("/api/fleet",), (upstream.url,))
        async with door(tmp_path, photos(nobody()), fleet) as front:
            for _ in range(8):
                down = await front.client.get("/api/photos", headers={"Accept-Language": "es"})
                assert (down.status_code, down.json()["code"], down.json()["service"]) == (503, "SERVICE_UNAVAILABLE", "photos")
                assert int(down.headers["retry-after"]) >= 1
                assert down.json()["remedy"] == "inténtelo más tarde"
                assert (await front.client.get("/api/fleet")).status_code == 200
            states = {state["service"]: state["breaker"] for state in front.gateway.states()}
            assert states == {"photos": "open", "fleet": "closed"}
            assert await metric(front, "trenza_breaker_state", callee="gateway:photos") == 2
            assert await metric(front, "trenza_gateway_in_flight", service="fleet") == 0
            assert await metric(front, "trenza_gateway_upstream_seconds_count", service="fleet") >= 8


async def test_the_breaker_closes_again_when_the_service_is_back(tmp_path: Path) -> None:
    port = free_port()
    async with door(tmp_path, photos(f"http://127.0.0.1:{port}"), options={"recovery_seconds": 0}) as front:
        for _ in range(5):
            assert (await front.client.get("/api/photos/echo")).status_code == 503
        assert front.gateway.states()[0]["breaker"] == "open"
        async with program("upstream_program.py", port):
            assert [(await front.client.get("/api/photos/echo")).status_code for _ in range(3)] == [200, 200, 200]
        assert front.gateway.states()[0]["breaker"] == "closed"


async def test_a_service_that_does_not_answer_is_a_time_out(tmp_path: Path) -> None:
    async with scripted(silence) as slow, scripted(ok) as upstream:
        fleet = GatewayRoute("fleet", ("/api/fleet",), (upstream.url,))
        async with door(tmp_path, photos(slow.url), fleet, options={"answer_seconds": 0.2}) as front:
            late, fine = await asyncio.gather(front.client.get("/api/photos"), front.client.get("/api/fleet"))
            assert (late.status_code, late.json()["code"], late.json()["seconds"]) == (504, "UPSTREAM_TIMEOUT", 0.2)
            assert fine.status_code == 200
            assert slow.connections == 1  # a second one would double the wait


async def test_a_half_open_connection_is_given_up(tmp_path: Path) -> None:
    """The peer has vanished without a word: bytes go out and nothing comes back."""
    async with scripted(ok) as upstream, TcpProxy.before("127.0.0.1", upstream.port) as line:
        options = {"answer_seconds": 0.3, "idle_seconds": 0.3}
        async with door(tmp_path, photos(f"http://127.0.0.1:{line.port}"), options=options) as front:
            assert (await front.client.get("/api/photos")).status_code == 200
            line.stall()
            assert (await front.client.get("/api/photos")).status_code == 504
            line.flow()
            assert (await front.client.get("/api/photos")).status_code == 200


async def test_an_answer_that_stops_in_the_middle_is_cut_off(tmp_path: Path) -> None:
    async def stop(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await reader.read()

    async with scripted(stop) as upstream, door(tmp_path, photos(upstream.url), options={"idle_seconds": 0.3}) as front:
        with pytest.raises(httpx.RemoteProtocolError):
            await front.client.get("/api/photos")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"])
async def test_whatever_was_not_sent_is_asked_elsewhere(tmp_path: Path, method: str) -> None:
    async with scripted(ok) as upstream, door(tmp_path, photos(nobody(), nobody(), upstream.url)) as front:
        for _ in range(6):
            answer = await front.client.request(
                method, "/api/photos", content=b"body" if method in ("PUT", "POST", "PATCH") else None
            )
            assert answer.status_code == 200
        assert len(upstream.heads) == 6


@pytest.mark.parametrize(
    ("method", "headers", "repeated"),
    [
        ("GET", {}, True),
        ("PUT", {}, True),
        ("DELETE", {}, True),
        ("POST", {"Idempotency-Key": "k-1"}, True),
        ("POST", {}, False),
        ("PATCH", {}, False),
    ],
)
@pytest.mark.parametrize("size", [4, 900_000])
async def test_what_broke_without_an_answer_is_asked_elsewhere_only_where_that_is_safe(
    tmp_path: Path,
    method: str,
    headers: dict[str, str],
    repeated: bool,  # noqa: FBT001 - a parameter
    size: int,
) -> None:
    body = bytes(size) if method in ("PUT", "POST", "PATCH") else None

    async def lose(script: Script, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        await reader.readexactly(len(body or b""))

    async with scripted(lose) as broken, scripted(ok) as upstream, door(tmp_path, photos(broken.url, upstream.url)) as front:
        found: Counter[int] = Counter()
        while not broken.heads:
            answer = await front.client.request(method, "/api/photos", headers=headers, content=body)
            found[answer.status_code] += 1
        assert (found[502] == 0) is repeated
        if not repeated:
            assert (answer.status_code, answer.json()["code"]) == (502, "UPSTREAM_FAILED")
        assert front.gateway.states()[0]["breaker"] == "closed"


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_that_is_sent_again_is_the_same(tmp_path: Path, chunked: bool) -> None:  # noqa: FBT001 - a parameter
    body = os.urandom(900_000)

    async def lose(script: Script, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        await reader.readexactly(500_000)  # some of it is still on its way

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 70_000):
            yield body[start : start + 70_000]

    async with (
        scripted(lose) as broken,
        program("upstream_program.py", free_port()) as upstream,
        door(tmp_path, photos(broken.url, upstream.url)) as front,
    ):
        while not broken.heads:
            answer = await front.client.put("/api/photos/echo", content=parts() if chunked else body)
            assert (answer.json()["bytes"], answer.json()["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


async def test_a_body_that_is_too_large_to_keep_is_not_asked_again(tmp_path: Path) -> None:
    async def lose(script: Script, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        await reader.readexactly(900_000)

    async with (
        scripted(lose) as broken,
        scripted(ok) as upstream,
        door(tmp_path, photos(broken.url, upstream.url), options={"replay_bytes": 300_000}) as front,
    ):
        while not broken.heads:
            answer = await front.client.put("/api/photos", content=bytes(900_000))
        assert answer.status_code == 502


async def test_a_replica_that_is_not_ready_costs_nothing(tmp_path: Path) -> None:
    async with scripted(unready) as draining, scripted(ok) as upstream:
        async with door(tmp_path, photos(draining.url, upstream.url)) as front:
            answers = [await front.client.get("/api/photos") for _ in range(20)]
            assert {answer.status_code for answer in answers} == {200}
            assert draining.heads
        async with door(tmp_path, photos(draining.url)) as front:
            alone = await front.client.get("/api/photos")
            assert (alone.status_code, alone.headers["retry-after"], alone.text) == (503, "5", "bad")


async def test_a_kept_connection_that_has_ended_is_replaced(tmp_path: Path) -> None:
    async def once(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        writer.write(OK)
        await writer.drain()
        await script.read_head(reader)  # and hang up instead of an answer

    async with scripted(once) as upstream, door(tmp_path, photos(upstream.url)) as front:
        assert [(await front.client.get("/api/photos")).status_code for _ in range(6)] == [200] * 6
        assert front.gateway.states()[0]["replicas"][0]["state"] == "ready"


async def test_requests_go_where_the_fewest_are_under_way(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def hold(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        arrived.release()
        await release.wait()
        writer.write(OK)
        await writer.drain()

    arrived = asyncio.Semaphore(0)
    async with scripted(hold) as first, scripted(hold) as second, door(tmp_path, photos(first.url, second.url)) as front:
        asking = []
        for _ in range(10):
            asking.append(asyncio.create_task(front.client.get("/api/photos")))
            await arrived.acquire()
        assert (first.connections, second.connections) == (5, 5)
        release.set()
        assert {answer.status_code for answer in await asyncio.gather(*asking)} == {200}


async def test_more_than_may_be_under_way_are_refused_at_once(tmp_path: Path) -> None:
    async def hold(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        arrived.set()
        await release.wait()
        writer.write(OK)

    arrived, release = asyncio.Event(), asyncio.Event()
    async with scripted(hold) as upstream, door(tmp_path, photos(upstream.url), options={"concurrency": 1}) as front:
        first = asyncio.create_task(front.client.get("/api/photos"))
        await arrived.wait()
        second = await front.client.get("/api/photos")
        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        release.set()
        assert (await first).status_code == 200


class Load:
    """Clients that ask one after another until they are told to stop."""

    def __init__(self, client: httpx.AsyncClient, count: int, *, method: str = "GET") -> None:
        self.found: Counter[int | str] = Counter()
        self.by: Counter[str] = Counter()
        self._client, self._method = client, method
        self._stopped = False
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(count)]
        self._changed = asyncio.Condition()

    async def _ask(self) -> None:
        while not self._stopped:
            try:
                answer = await self._client.request(self._method, "/api/photos/echo?seconds=0.01")
            except httpx.HTTPError as error:
                self.found[repr(error)] += 1
            else:
                self.found[answer.status_code] += 1
                self.by[answer.headers.get("x-by", "")] += 1
            async with self._changed:
                self._changed.notify_all()

    async def answered(self, more: int, by: str | None = None) -> None:
        counted = self.found.total if by is None else lambda: self.by[by]
        wanted = counted() + more
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: counted() >= wanted)

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)


async def test_a_replica_killed_under_load_costs_no_idempotent_request(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    async with program("upstream_program.py", ports[0], name="a"), door(tmp_path, photos(*urls)) as front:
        async with program("upstream_program.py", ports[1], name="b") as second:
            load = Load(front.client, 24)
            await load.answered(50, by="b")
            await second.kill()
            await load.answered(200)
        async with program("upstream_program.py", ports[1], name="b"):
            await load.answered(20, by="b")
            await load.stop()
    assert set(load.found) == {200}, load.found


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_replica_that_drains_under_load_costs_no_request(tmp_path: Path, method: str) -> None:
    ports = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    async with (
        program("upstream_program.py", ports[0], name="a"),
        door(tmp_path, photos(*urls)) as front,
        program("upstream_program.py", ports[1], name="b") as second,
    ):
        load = Load(front.client, 24, method=method)
        await load.answered(50, by="b")
        assert await second.drain() == 0
        await load.answered(100, by="a")
        await load.stop()
    assert set(load.found) == {200}, load.found


async def test_an_upstream_killed_in_the_middle_of_streams_leaves_none_that_looks_whole(tmp_path: Path) -> None:
    async with program("upstream_program.py", free_port()) as upstream, door(tmp_path, photos(upstream.url)) as front:

        async def download(begun: asyncio.Event) -> str:
            try:
                async with front.client.stream("GET", "/api/photos/stream?megabytes=200&seconds_each=0.05") as answer:
                    assert answer.status_code == 200
                    async for _ in answer.aiter_bytes():
                        begun.set()
            except httpx.RemoteProtocolError:
                return "cut"
            return "whole"

        all_begun = [asyncio.Event() for _ in range(5)]
        downloads = [asyncio.create_task(download(begun)) for begun in all_begun]
        for begun in all_begun:
            await begun.wait()
        await upstream.kill()
        assert await asyncio.gather(*downloads) == ["cut"] * 5
        began = time.monotonic()
        assert (await front.client.get("/api/photos/echo")).status_code == 503
        assert time.monotonic() - began < 2


async def test_a_gateway_that_is_killed_and_started_again_goes_on(tmp_path: Path) -> None:
    port = free_port()
    async with program("upstream_program.py", free_port()) as upstream:
        for _ in range(2):
            async with program("gateway_program.py", port, folder=str(tmp_path), urls=[upstream.url]) as front:
                async with httpx.AsyncClient(base_url=front.url, trust_env=False) as client:
                    assert (await client.post("/api/photos/echo", content=b"abc")).json()["bytes"] == 3
                await front.kill()
