"""A small service in a process of its own, which tests kill, stop and restart. It serves what the runtime's server serves."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from trenza.chassis.runtime.readiness import Readiness
from trenza.chassis.runtime.server import bind, serve

MEGABYTE = 1024 * 1024


def make_app(name: str, drain_seconds: float) -> FastAPI:
    readiness = Readiness(drain_seconds)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        readiness.started()
        yield

    app = FastAPI(lifespan=lifespan)
    app.state.readiness = readiness

    @app.api_route("/api/photos/echo", methods=["GET", "PUT", "POST", "DELETE", "PATCH"])
    async def echo(request: Request, response: Response, seconds: float = 0) -> dict[str, Any]:
        digest, size = hashlib.sha256(), 0
        async for chunk in request.stream():
            digest.update(chunk)
            size += len(chunk)
        await asyncio.sleep(seconds)
        response.headers["x-by"] = name
        return {"by": name, "bytes": size, "sha256": digest.hexdigest(), "path": request.url.path}

    @app.get("/api/photos/stream")
    async def stream(megabytes: int, seconds_each: float = 0) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(megabytes):
                yield b"x" * MEGABYTE
                await asyncio.sleep(seconds_each)

        return StreamingResponse(parts(), headers={"content-length": str(megabytes * MEGABYTE)})

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "healthy", "checks": {}}

    return app


def main(options: dict[str, Any]) -> int:
    app = make_app(options.get("name", "a"), options.get("drain_seconds", 5.0))
    with bind("127.0.0.1", options["port"]) as bound:
        return serve(app, bound, unready_seconds=options.get("unready_seconds", 0.0), on_started=lambda: print("up", flush=True))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
