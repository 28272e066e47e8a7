"""A gateway in a process of its own, whose memory tests look at and which they kill."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import uvloop
from tests.chassis.gateway.serving import door_of, serving


async def main(options: dict[str, Any]) -> None:
    gateway = door_of(Path(options["folder"]), options["urls"], options.get("options", {}))
    async with serving(gateway, options["port"]):
        print("up", flush=True)  # noqa: T201 - the test reads it
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
