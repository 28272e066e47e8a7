"""What a limiter adds to a request: the same application is asked with and without it, in turns. Standard library only."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

__all__ = ["ROUTE", "App", "added_microseconds"]

ROUTE = "/ask"
ROWS = 11
REQUESTS = 300

App = Callable[[Any, Any, Any], Awaitable[None]]


async def added_microseconds(plain: App, limited: App, *, addresses: int, token: str = "") -> float:
    """Microseconds that ``limited`` takes longer for a request than ``plain``: the median of rows, over so many addresses."""
    hosts = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(addresses)]
    if addresses > 1:
        await _row(limited, hosts, token)  # all of them are known
    differences = []
    for row in range(ROWS):
        some = [hosts[(row * REQUESTS + number) % addresses] for number in range(REQUESTS)]
        gc.collect()
        differences.append(-await _row(plain, some, token) + await _row(limited, some, token))
    return median(differences)


async def _row(app: App, hosts: list[str], token: str) -> float:
    answers: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answers.append(message["status"])

    headers = [(b"host", b"test"), *([(b"authorization", f"Bearer {token}".encode())] if token else [])]
    base = {
        "type": "http",
        "method": "GET",
        "path": ROUTE,
        "raw_path": ROUTE.encode(),
        "query_string": b"",
        "http_version": "1.1",
    }
    began = time.perf_counter()
    for host in hosts:
        scope = {**base, "headers": headers, "client": (host, 40_000), "server": ("test", 80), "scheme": "http", "root_path": ""}
        await app(scope, receive, send)
        await asyncio.sleep(0)  # as between requests of a server: what a limiter has put off runs now, at its cost
    seconds = time.perf_counter() - began
    if answers != [200] * len(hosts):
        raise RuntimeError(f"{len(hosts)} requests were answered with {sorted(set(answers))}")
    return seconds / len(hosts) * 1e6
