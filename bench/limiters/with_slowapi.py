"""slowapi, and the library below it by hand, before every route of an application: ``with_slowapi.py WAY STORE ADDRESSES``."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import limits
import uvloop
from driving import ROUTE, App, added_microseconds
from fastapi import FastAPI, Response
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address

_RATE = "100000/minute"


def _plain() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get(ROUTE)
    async def ask() -> Response:
        return Response(b"ok")

    return app


def _slowapi(store: str) -> FastAPI:
    app = _plain()
    uri = store if store.startswith("redis") else "memory://"
    app.state.limiter = Limiter(
        get_remote_address, default_limits=[_RATE], storage_uri=uri, strategy="moving-window", headers_enabled=True
    )
    app.add_middleware(SlowAPIASGIMiddleware)
    return app


class _ByHand:
    """The asynchronous half of limits: a hit, and a look for the headers."""

    def __init__(self, app: App, store: str) -> None:
        self._app = app
        self._limiter = MovingWindowRateLimiter(_storage(store))
        self._item = limits.parse(_RATE)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        key = scope["client"][0]
        if not await self._limiter.hit(self._item, key):
            raise RuntimeError("nothing is refused here")
        stats = await self._limiter.get_window_stats(self._item, key)

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [
                    (b"ratelimit-limit", b"%d" % self._item.amount),
                    (b"ratelimit-remaining", b"%d" % stats.remaining),
                    (b"ratelimit-reset", b"%d" % stats.reset_time),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _storage(store: str) -> Any:
    if store.startswith("redis"):
        return limits.storage.storage_from_string(f"async+{store}", implementation="redispy")
    return MemoryStorage()


async def _measure(way: str, store: str, addresses: int) -> float:
    limited = _slowapi(store) if way == "slowapi" else _ByHand(_plain(), store)
    return await added_microseconds(_plain(), limited, addresses=addresses)


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    print(asyncio.run(_measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
