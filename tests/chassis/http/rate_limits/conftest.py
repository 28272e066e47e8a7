"""Applications with limits of how often somebody may ask, a clock for them, and clients from any address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.permissions import install_auth, public
from trenza.chassis.auth.roles import Roles
from trenza.chassis.auth.tokens import TokenVerifier, issue_token
from trenza.chassis.http.middleware import install_middleware
from trenza.chassis.http.problem import install_problem_handlers
from trenza.chassis.http.rate_limits import RateLimits
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.clock import ManualClock
from trenza.chassis.testing.redis_server import RedisServer

OPEN = public("the test asks")
_STRANGERS_KEY = SigningKey.generate()


class Site:
    """An application with one public route ``/ask``, and what a test does with it."""

    def __init__(self, clock: ManualClock, settings: PlatformSettings, **options: Any) -> None:
        self.key = SigningKey.generate()
        self.clock = clock
        self.limits = RateLimits(settings, now=lambda: clock.now().timestamp(), **options)
        self.app = FastAPI()
        install_auth(self.app, TokenVerifier([self.key]), [Roles("site", ("viewer",))])
        install_problem_handlers(self.app)
        install_middleware(self.app, settings, rate_limits=self.limits)
        self._clients = AsyncExitStack()
        self._known: dict[str, httpx.AsyncClient] = {}

        @self.app.get("/ask", dependencies=[OPEN])
        async def ask() -> str:
            return "answer"

    def client(self, address: str = "192.0.2.1") -> httpx.AsyncClient:
        """A client whose connections come from an address."""
        if address not in self._known:
            transport = httpx.ASGITransport(app=self.app, client=(address, 40_000))
            self._known[address] = httpx.AsyncClient(transport=transport, base_url="http://test")
            self._clients.push_async_callback(self._known[address].aclose)
        return self._known[address]

    def token(self, subject: str, *, trusted: bool = True) -> dict[str, str]:
        """The header of a token, each time of another one."""
        key = self.key if trusted else _STRANGERS_KEY
        return {"Authorization": f"Bearer {issue_token(key, subject, ('site:viewer',), timedelta(hours=1))}"}

    async def ask(self, path: str = "/ask", *, address: str = "192.0.2.1", **options: Any) -> int:
        """The status of one GET."""
        return (await self.client(address).get(path, **options)).status_code

    async def passes(self, tries: int, **options: Any) -> int:
        """How many of so many requests pass."""
        found = [await self.ask(**options) for _ in range(tries)]
        assert set(found) <= {200, 429}, found
        return found.count(200)

    async def close(self) -> None:
        """End its clients and its connections to Redis."""
        await self._clients.aclose()
        await self.limits.close()


SiteMaker = Callable[..., Site]


@pytest.fixture
async def make_site(clock: ManualClock) -> AsyncIterator[SiteMaker]:
    """Makes an application with these settings (by field name)."""
    async with AsyncExitStack() as stack:

        def make(*, at_door: bool = True, **settings: Any) -> Site:
            site = Site(clock, PlatformSettings(**settings), at_door=at_door)
            stack.push_async_callback(site.close)
            return site

        yield make


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """A server of its own for each test, which may end it: it is up in a tenth of a second."""
    async with RedisServer.running() as server:
        yield server
