"""What every script of this folder does alike: its arguments, and how calls are timed. The standard library and uvloop only.

``python with_NAME.py serve --port P --data FOLDER`` prints ``ready`` and answers until it is ended; ``… call …`` calls and prints
``{"one": [seconds…], "many": calls a second, "cpu": seconds of this process a call}``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

__all__ = ["arguments", "call_and_tell", "ready", "run"]

WARM_UP = 200
CLIENTS = 16


def arguments() -> argparse.Namespace:
    """The arguments of this call."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=("serve", "call"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help="a folder for keys")
    parser.add_argument("--count", type=int, default=1000, help="calls of each kind")
    return parser.parse_args()


def ready() -> None:
    """Say that requests are answered."""
    print("ready", flush=True)


async def call_and_tell(call: Callable[[], Awaitable[Any]], count: int) -> None:
    """Call one after another, then by several clients at once, and print how it went."""
    for _ in range(WARM_UP):
        await call()
    one = []
    used = time.process_time()
    for _ in range(count):
        began = time.perf_counter()
        await call()
        one.append(time.perf_counter() - began)
    used = (time.process_time() - used) / count
    began = time.perf_counter()
    await asyncio.gather(*(_in_a_row(call, count // CLIENTS) for _ in range(CLIENTS)))
    many = count // CLIENTS * CLIENTS / (time.perf_counter() - began)
    print(json.dumps({"one": one, "many": many, "cpu": used}), flush=True)


async def _in_a_row(call: Callable[[], Awaitable[Any]], count: int) -> None:
    for _ in range(count):
        await call()


def run(main: Any) -> None:
    """Run a coroutine on uvloop, which all of them use."""
    uvloop.run(main)
