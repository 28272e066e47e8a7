"""A small application, served as a program of its own: the tests of the server signal it and look at how it ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from trenza.chassis.runtime.readiness import Readiness
from trenza.chassis.runtime.server import bind, serve


def main(port: int, drain_seconds: float, unready_seconds: float) -> int:
    readiness = Readiness(drain_seconds)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        readiness.started()
        yield
        await asyncio.sleep(min(0.2, readiness.seconds_left()))
        print("drained", flush=True)  # noqa: T201 - the test reads it

    app = FastAPI(lifespan=lifespan)
    app.state.readiness = readiness

    @app.get("/ready")
    async def ready() -> bool:
        return readiness.ready

    @app.get("/slow")
    async def slow(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    with bind("127.0.0.1", port) as bound:
        return serve(app, bound, unready_seconds=unready_seconds, on_started=lambda: print("up", flush=True))  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
