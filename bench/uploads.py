"""Photos over HTTP, end to end: how many are completed in a minute, and how soon an upload is acknowledged at what load."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
import psutil
from bench.renderers.children import PRESETS
from bench.renditions import bound, references
from bench.tables import Figures

from trenza.chassis.testing.pictures import encoded, photograph
from trenza.chassis.testing.server_process import ServerProcess

PHOTOS = 240
CLIENTS = 4
WARM_UP = 4
WIDTH, HEIGHT = 4000, 3000
LOOK_SECONDS = 0.25
ROUNDS = 2
AIM = 1000
"""Photos a minute."""
PACED = 150
"""Uploads at each pace."""
SHARES = (0.25, 0.5, 0.75)
"""Of what the machine completes at most."""
MEGABYTE = 1024 * 1024
CORES = os.cpu_count() or 1
_SPAWN = get_context("spawn")
_BOUNDARY = b"limit-of-a-part"


class Client:
    """Speaks HTTP over kept connections. A client that does less leaves the processor to the server, which shares it."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._place = parts.hostname, parts.port
        self._common = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def get(self, path: str, **query: str) -> Any:
        """The JSON behind a path."""
        _, body = await self._ask(f"GET {path}?{urlencode(query)} HTTP/1.1\r\n{self._common}\r\n".encode())
        return orjson.loads(body)

    async def upload(self, photo: bytes, upid: str) -> float:
        """Upload one photo, different from all others by its last bytes; returns the seconds until it was acknowledged."""
        begin = b"--%s\r\nContent-Disposition: form-data; name=" % _BOUNDARY
        parts = (
            begin + b'"upid"\r\n\r\n' + upid.encode() + b"\r\n",
            begin + b'"file"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n',
            photo,
            os.urandom(8),
            b"\r\n--%s--\r\n" % _BOUNDARY,
        )
        head = (
            f"POST /api/photos/upload HTTP/1.1\r\n{self._common}Content-Length: {sum(map(len, parts))}\r\n"
            f"Content-Type: multipart/form-data; boundary={_BOUNDARY.decode()}\r\n\r\n"
        )
        began = time.perf_counter()
        await self._ask(head.encode(), *parts)
        return time.perf_counter() - began

    async def _ask(self, *parts: bytes) -> tuple[int, bytes]:
        while self._idle and self._idle[-1][0].at_eof():  # kept for too long: the server has hung up
            self._idle.pop()[1].close()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self._place)
        writer.writelines(parts)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split(maxsplit=2)[1])
        (length,) = [line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length:")]
        body = await reader.readexactly(int(length))
        if not 200 <= status < 300:  # noqa: PLR2004 - the statuses of success
            raise RuntimeError(f"the server answered {status}: {body[:500]!r}")
        self._idle.append((reader, writer))
        return status, body

    async def close(self) -> None:
        """Hang up."""
        for _, writer in self._idle:
            writer.close()


@dataclass
class Found:
    """What was measured: seconds, except for photos a minute, and megabytes."""

    minute: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)
    serving: list[float] = field(default_factory=list)
    """The part of it that the server's own process takes; the other is that of the image workers."""
    bound: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    acknowledged: dict[str, list[float]] = field(default_factory=dict)
    megabytes: float = 0.0


@dataclass
class Load:
    """A running server under load."""

    server: ServerProcess
    client: Client
    photo: bytes
    found: Found

    async def flat_out(self, upid: str) -> None:
        """Upload with a few clients, each as soon as its last upload is acknowledged, until all versions are there."""
        began, left = time.perf_counter(), iter(range(PHOTOS))
        serving, rendering = self._processor_seconds()
        acknowledged = self.found.acknowledged.setdefault(f"{CLIENTS} clients flat out", [])

        async def one() -> None:
            for _ in left:
                acknowledged.append(await self.client.upload(self.photo, upid))

        async with self._watched(), asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(one())
        await self.completed(upid, PHOTOS)
        self.found.minute.append(PHOTOS / (time.perf_counter() - began) * 60)
        serving_now, rendering_now = self._processor_seconds()
        self.found.serving.append((serving_now - serving) / PHOTOS)
        self.found.spent.append((serving_now - serving + rendering_now - rendering) / PHOTOS)

    async def paced(self, name: str, upid: str, per_minute: float) -> None:
        """Upload at a steady pace, whatever becomes of the uploads before."""
        began = time.perf_counter()
        async with self._watched(), asyncio.TaskGroup() as group:
            uploads = []
            for number in range(PACED):
                await asyncio.sleep(max(0.0, began + number * 60 / per_minute - time.perf_counter()))
                uploads.append(group.create_task(self.client.upload(self.photo, upid)))
        self.found.acknowledged.setdefault(name, []).extend(upload.result() for upload in uploads)
        await self.completed(upid, PACED)

    async def completed(self, upid: str, count: int) -> None:
        """Until that many photos are. To ask for one that is not costs the server little."""
        for status in ("queued", "processing"):
            query = {"upid": upid, "status": status, "limit": "1"}
            while (await self.client.get("/api/photos", **query))["items"]:  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(LOOK_SECONDS)
        total = 0
        cursor: dict[str, str] | None = {}
        while cursor is not None:
            page = await self.client.get("/api/photos", upid=upid, status="completed", limit="200", **cursor)
            total += len(page["items"])
            cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
        if total != count:
            raise RuntimeError(f"{total} of {count} photos were completed")
        self.found.megabytes = max(self.found.megabytes, sum(each.memory_info().rss for each in self._family()) / MEGABYTE)

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Ask for readiness meanwhile."""

        async def watch() -> None:
            while True:
                began = time.perf_counter()
                await self.client.get("/health/ready")
                self.found.ready.append(time.perf_counter() - began)
                await asyncio.sleep(LOOK_SECONDS)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()

    def _family(self) -> list[psutil.Process]:
        server = psutil.Process(self.server.process_id)
        return [server, *server.children(recursive=True)]

    def _processor_seconds(self) -> tuple[float, float]:
        """Of the server's own process, and of its image workers."""
        server, *workers = (sum(member.cpu_times()[:2]) for member in self._family())
        return server, sum(workers)


def bound_in(folder: Path) -> float:
    """The bound, as long as it takes while all other cores do the same: they share caches, and often more."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        for preset, *_ in PRESETS:
            (Path(own) / f"{preset}.png").symlink_to(folder / f"{preset}.png")
        return bound(folder / "photo.jpg", Path(own), progressive=False)


async def _measure() -> Found:
    photo, found = encoded(photograph(WIDTH, HEIGHT), "JPEG", quality=90), Found()
    with tempfile.TemporaryDirectory(prefix="trenza-bench-") as name, ProcessPoolExecutor(CORES, _SPAWN) as pool:
        folder = Path(name)
        (folder / "photo.jpg").write_bytes(photo)
        for (preset, *_), version in zip(PRESETS, references(folder / "photo.jpg"), strict=True):
            version.save(folder / f"{preset}.png")
        async with ServerProcess.running(folder / "data") as server:
            client = Client(server.url, await server.token("photos:admin"))
            load = Load(server, client, photo, found)
            list(pool.map(bound_in, [folder] * CORES))
            for _ in range(WARM_UP):
                await client.upload(photo, "WARM")
            await load.completed("WARM", WARM_UP)
            for number in range(ROUNDS):
                found.bound += pool.map(bound_in, [folder] * CORES * 2)
                await load.flat_out(f"FLAT-{number}")
            for share in SHARES:
                await load.paced(f"{share:.0%} of that", f"SHARE-{share * 100:.0f}", median(found.minute) * share)
            await load.paced(f"{AIM} a minute", "AIM", AIM)
            await client.close()
    return found


def measure() -> Figures:
    """Start a server and upload."""
    found = asyncio.run(_measure())
    spent, least = median(found.spent), median(found.bound)
    return Figures(
        title="Photos end to end over HTTP",
        how=f"JPEGs of {WIDTH} x {HEIGHT}, on embedded defaults; the clients take their share of the same cores. Flat out: "
        f"{PHOTOS} photos by {CLIENTS} clients, median of {ROUNDS} rounds. Paced: {PACED} uploads that do not wait for one "
        "another. Acknowledged: stored durably, 202. Completed: four versions written. The bound: one decode and four baseline "
        f"encodes by Pillow, on all cores at once, between the rounds. Aims: {AIM} a minute on two cores, acknowledged within 50 "
        "ms at that load; where the bound takes more than 80 ms, no service reaches the first.",
        columns=("what", "figure"),
        rows=(
            ("completed a minute, flat out", f"{median(found.minute):.0f}"),
            ("the same, were there nothing but the bound", f"{CORES * 60 / least:.0f}"),
            ("processor time for each photo, all processes of the service", f"{spent * 1000:.0f} ms"),
            ("of that, in the server's own process", f"{median(found.serving) * 1000:.0f} ms"),
            ("all of it over the bound", f"{spent / least:.2f}x"),
            *(
                (f"acknowledged, {name}: median / p99", f"{median(times) * 1000:.0f} / {_p99(times) * 1000:.0f} ms")
                for name, times in found.acknowledged.items()
            ),
            ("/health/ready meanwhile: median / p99", f"{median(found.ready) * 1000:.0f} / {_p99(found.ready) * 1000:.0f} ms"),
            ("memory of all processes, at most (RSS)", f"{found.megabytes:.0f} MB"),
        ),
    )


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]
