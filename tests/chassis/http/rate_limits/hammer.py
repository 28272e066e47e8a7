"""A process that counts at a Redis as fast as it can, and prints when each request that passed was under way."""

from __future__ import annotations

import asyncio
import sys
import time

from trenza.chassis.http.rate_limits.redis import RedisWindows
from trenza.chassis.rates import Rate

_AT_ONCE = 8


async def _hammer(url: str, rate: Rate, seconds: float) -> None:
    until = time.monotonic() + seconds
    windows = RedisWindows(url, seconds=10)
    passed: list[tuple[float, float]] = []

    async def ask() -> None:
        while (before := time.monotonic()) < until:
            if (await windows.take("everybody", rate)).allowed:
                passed.append((before, time.monotonic()))

    await asyncio.gather(*(ask() for _ in range(_AT_ONCE)))
    await windows.close()
    for before, after in passed:
        print(before, after)  # noqa: T201 - this is what the test reads


print("ready", flush=True)  # noqa: T201 - others wait for it, so that all begin at once
asyncio.run(_hammer(sys.stdin.readline().strip(), Rate.read(sys.argv[1]), float(sys.argv[2])))
