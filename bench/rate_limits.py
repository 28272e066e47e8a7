"""What counting adds to each request, in memory and at Redis: ours, slowapi, and the library limits by hand."""

from __future__ import annotations

import asyncio
import os
import subprocess
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Annotated

import uvloop
from bench.limiters.driving import ROUTE, added_microseconds
from bench.peers import environment
from bench.tables import Figures
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.responses import Response

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.permissions import install_auth, public, requires
from trenza.chassis.auth.roles import Roles
from trenza.chassis.auth.tokens import TokenVerifier, issue_token
from trenza.chassis.context import Principal
from trenza.chassis.http.middleware import install_middleware
from trenza.chassis.http.rate_limits import RateLimits
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging
from trenza.chassis.testing.redis_server import RedisServer

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
MANY = 10_000
_RATE = "100000/minute"
_SCRIPT = Path(__file__).parent / "limiters" / "with_slowapi.py"
_KEY = SigningKey.generate()
_OPEN = public("it is measured")
_REQUIRED = requires("bench:viewer")


def _app(limits: RateLimits | None, settings: PlatformSettings, *, guarded: bool) -> FastAPI:
    app = FastAPI(openapi_url=None)
    install_auth(app, TokenVerifier([_KEY]), [Roles("bench", ("viewer",))])
    install_middleware(app, settings, rate_limits=limits)
    if guarded:

        @app.get(ROUTE)
        async def ask_as_somebody(_principal: Annotated[Principal, _REQUIRED]) -> Response:
            return Response(b"ok")

    else:

        @app.get(ROUTE, dependencies=[_OPEN])
        async def ask() -> Response:
            return Response(b"ok")

    return app


async def _ours(store: str, addresses: int, *, guarded: bool = False) -> float:
    settings = PlatformSettings(
        rate_limit_anonymous=_RATE,
        rate_limit_authenticated=_RATE,
        redis_url=None if store == "memory" else SecretStr(store),
        redis_timeout_seconds=5,
        log_level="error",
    )
    configure_logging(settings)
    limits = RateLimits(settings)
    token = issue_token(_KEY, "ana", ("bench:viewer",), timedelta(hours=1)) if guarded else ""
    try:
        plain, limited = _app(None, settings, guarded=guarded), _app(limits, settings, guarded=guarded)
        return await added_microseconds(plain, limited, addresses=addresses, token=token)
    finally:
        await limits.close()


def _peer(way: str, store: str, addresses: int) -> float:
    python = environment("slowapi")
    done = subprocess.run([str(python), str(_SCRIPT), way, store, str(addresses)], check=True, capture_output=True, text=True)  # noqa: S603 - our own script
    return float(done.stdout)


async def _rounds() -> dict[tuple[str, str, int], float]:
    """The median of each way to count; the ways take turns, so that a busy moment of the machine hits all of them."""
    times: dict[tuple[str, str, int], list[float]] = {}
    async with RedisServer.running() as redis:
        for _ in range(ROUNDS):
            for name, store in (("memory", "memory"), ("Redis", redis.url)):
                for addresses in (1, MANY) if name == "memory" else (1,):
                    times.setdefault(("ours", name, addresses), []).append(await _ours(store, addresses))
                    for way in ("slowapi", "by hand"):
                        found = await asyncio.to_thread(_peer, way, store, addresses)
                        times.setdefault((way, name, addresses), []).append(found)
                times.setdefault(("ours, token", name, 1), []).append(await _ours(store, 1, guarded=True))
    return {way: median(values) for way, values in times.items()}


def measure() -> Figures:
    """Count in every way and compare."""
    found = uvloop.run(_rounds())

    def row(title: str, way: str, store: str) -> tuple[str, ...]:
        many = found.get((way, store, MANY))
        ratio = found[way, store, 1] / found["ours", store, 1]
        return title, store, f"{found[way, store, 1]:.0f}", "-" if many is None else f"{many:.0f}", f"{ratio:.1f}x"

    return Figures(
        title="Rate limits",
        how="Microseconds that counting by a moving window, headers included, adds to a request: beside the same application "
        f"without, median of {ROUNDS} interleaved rounds, one request at a time, over ASGI without a socket, uvloop. "
        f"Many: {MANY} addresses have asked within the window. Token: a route that verifies one anyhow. Redis is Valkey on "
        "loopback. By hand: the asynchronous half of the library limits, a hit and a look for the headers; slowapi asks Redis "
        "synchronously, while nothing else runs.",
        columns=("limiter", "counts in", "µs", "µs, many", "to ours"),
        rows=tuple(
            row(title, way, store)
            for store in ("memory", "Redis")
            for title, way in (
                ("Trenza", "ours"),
                ("Trenza, token", "ours, token"),
                ("limits, by hand", "by hand"),
                ("slowapi", "slowapi"),
            )
        ),
    )
