"""Photos over HTTP, end to end: how soon an upload is acknowledged, and how many are completed in a minute."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import psutil
from bench.tables import Figures

from trenza.chassis.testing.pictures import encoded, photograph
from trenza.chassis.testing.server_process import ServerProcess

PHOTOS = 150
CLIENTS = 4
WARM_UP = 4
WIDTH, HEIGHT = 4000, 3000
LOOK_SECONDS = 0.25
MEGABYTE = 1024 * 1024


async def _upload(client: httpx.AsyncClient, photo: bytes, upid: str) -> float:
    """Upload one photo, different from all others by its last bytes; returns the seconds until it was acknowledged."""
    body = photo + os.urandom(8)
    began = time.perf_counter()
    answer = await client.post("/api/photos/upload", data={"upid": upid}, files={"file": ("photo.jpg", body)})
    answer.raise_for_status()
    return time.perf_counter() - began


async def _completed(client: httpx.AsyncClient, upid: str) -> int:
    total, query = 0, {"upid": upid, "status": "completed", "limit": "200"}
    while True:
        page: dict[str, Any] = (await client.get("/api/photos", params=query)).raise_for_status().json()
        total += len(page["items"])
        if page["next_cursor"] is None:
            return total
        query["cursor"] = page["next_cursor"]


async def _load(server: ServerProcess, photo: bytes) -> tuple[list[float], list[float], float, float, float]:
    """Acknowledgements and readiness answers in seconds; seconds until all are completed; processor seconds; megabytes."""
    headers = {"Authorization": f"Bearer {await server.token('photos:admin')}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=120, trust_env=False) as client:
        for _ in range(WARM_UP):
            await _upload(client, photo, "WARM")
        while await _completed(client, "WARM") < WARM_UP:  # noqa: ASYNC110 - it is another process that completes them
            await asyncio.sleep(LOOK_SECONDS)
        family = [psutil.Process(server.process_id), *psutil.Process(server.process_id).children(recursive=True)]
        before = sum(sum(member.cpu_times()[:2]) for member in family)
        began, left, acknowledged, ready = time.perf_counter(), iter(range(PHOTOS)), list[float](), list[float]()

        async def one_client() -> None:
            for _ in left:
                acknowledged.append(await _upload(client, photo, "LOAD"))

        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(one_client())
        while await _completed(client, "LOAD") < PHOTOS:
            asked = time.perf_counter()
            (await client.get("/health/ready")).raise_for_status()
            ready.append(time.perf_counter() - asked)
            await asyncio.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - began
        spent = sum(sum(member.cpu_times()[:2]) for member in family) - before
        memory = sum(member.memory_info().rss for member in family) / MEGABYTE
    return acknowledged, ready, seconds, spent, memory


async def _measure() -> tuple[list[float], list[float], float, float, float]:
    photo = encoded(photograph(WIDTH, HEIGHT), "JPEG", quality=90)
    with tempfile.TemporaryDirectory(prefix="trenza-bench-") as folder:
        async with ServerProcess.running(Path(folder) / "data") as server:
            return await _load(server, photo)


def measure() -> Figures:
    """Start a server and upload."""
    acknowledged, ready, seconds, spent, memory = asyncio.run(_measure())
    return Figures(
        title="Photos end to end over HTTP",
        how=f"{PHOTOS} JPEGs of {WIDTH} x {HEIGHT} by {CLIENTS} clients at once, on embedded defaults; the clients run on "
        "the same cores and take their share. Acknowledged: stored durably, 202. Completed: four versions written. Aims: 1,000 a "
        "minute on two cores, and acknowledgements within 50 ms at that load.",
        columns=("what", "figure"),
        rows=(
            ("completed a minute", f"{PHOTOS / seconds * 60:.0f}"),
            ("processor time for each photo, all processes of the service", f"{spent / PHOTOS * 1000:.0f} ms"),
            ("upload acknowledged, median", f"{median(acknowledged) * 1000:.0f} ms"),
            ("upload acknowledged, p99", f"{quantiles(acknowledged, n=100)[98] * 1000:.0f} ms"),
            ("/health/ready while rendering, longest", f"{max(ready) * 1000:.0f} ms"),
            ("memory of all processes after it (RSS)", f"{memory:.0f} MB"),
        ),
    )
