"""What every queue's script does alike: its arguments, its senders, and what it prints. The standard library only.

A script is called as ``python with_NAME.py ACTION --url URL …``. ``prepare`` makes tables; ``send`` stores tasks and prints
``{"seconds", "began"}``, or with ``--pace`` one at a time and ``{"stored": [[number, moment]…]}``; ``work`` prints ``ready`` and
then, when it has begun ``--count`` tasks, ``{"begun": [[number, moment]…]}``. Moments are of the system's monotonic clock, in
seconds: all processes share it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

NOTE = "x" * 100
"""What each task carries besides its number."""

SendAsync = Callable[[Sequence[int]], Awaitable[Any]]
Confirmed = Callable[[], Awaitable[Any]]
Send = Callable[[Sequence[int]], Any]


def arguments() -> argparse.Namespace:
    """The arguments of this call."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action")
    parser.add_argument("--url", required=True)
    parser.add_argument("--queue", default="bench", help="what a broker calls the queue; ours the beginning of its names")
    parser.add_argument("--database", default="", help="a PostgreSQL beside a broker")
    parser.add_argument("--count", type=int, default=0, help="tasks to send, or to begin")
    parser.add_argument("--concurrency", type=int, default=1, help="clients that send, or handlers at once")
    parser.add_argument("--batch", type=int, default=1, help="tasks in one transaction")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between two tasks")
    return parser.parse_args()


def say(answer: object) -> None:
    """Print one line of JSON, at once."""
    print(json.dumps(answer), flush=True)


class Tally:
    """Which tasks have begun, and when. Handlers of any thread may call it."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.begun: list[tuple[int, float]] = []
        self.complete = threading.Event()

    def __call__(self, number: int) -> None:
        """A handler of this task has begun."""
        self.begun.append((number, time.monotonic()))
        if len(self.begun) >= self._count:
            self.complete.set()

    async def wait(self) -> None:
        """Until all have begun."""
        await asyncio.to_thread(self.complete.wait)


def batches(options: argparse.Namespace) -> list[range]:
    """The numbers of the tasks, as many at a time as go into one transaction."""
    return [range(n, min(n + options.batch, options.count)) for n in range(0, options.count, options.batch)]


async def send_async(options: argparse.Namespace, send: SendAsync, confirmed: Confirmed | None = None) -> None:
    """Send everything, by so many coroutines at once or at the given pace, and print how it went.

    ``confirmed`` returns when all is where it was sent, for a queue whose ``send`` does not wait for that.
    """
    if options.pace:
        stored = []
        for number in range(options.count):
            await asyncio.sleep(options.pace)
            await send([number])
            stored.append((number, time.monotonic()))
        if confirmed is not None:
            await confirmed()
        say({"stored": stored})
        return
    waiting = iter(batches(options))

    async def client() -> None:
        for batch in waiting:
            await send(batch)

    start = time.monotonic()
    await asyncio.gather(*(client() for _ in range(options.concurrency)))
    if confirmed is not None:
        await confirmed()
    say({"seconds": time.monotonic() - start, "began": start})


def send_sync(options: argparse.Namespace, send: Send) -> None:
    """The same by threads."""
    if options.pace:
        stored = []
        for number in range(options.count):
            time.sleep(options.pace)
            send([number])
            stored.append((number, time.monotonic()))
        say({"stored": stored})
        return
    with ThreadPoolExecutor(options.concurrency) as pool:
        list(pool.map(lambda _: None, range(options.concurrency)))  # the threads exist
        start = time.monotonic()
        for sent in [pool.submit(send, batch) for batch in batches(options)]:
            sent.result()
        say({"seconds": time.monotonic() - start, "began": start})
