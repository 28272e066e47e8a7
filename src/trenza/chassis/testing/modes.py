"""One contract, bound in each of the ways in which a deployment may bind it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Literal, TypeVar

import uvicorn
from fastapi import FastAPI

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.calls import Passports, bind_local, bind_wire, call_router
from trenza.chassis.calls.callees import Callees
from trenza.chassis.contract import Contract
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.asgi import AsgiTransport
from trenza.chassis.testing.repeating import repeating

__all__ = ["CALL_MODES", "CallMode", "bind"]

CallMode = Literal["local", "wire", "network"]
CALL_MODES: tuple[CallMode, ...] = ("local", "wire", "network")

C = TypeVar("C", bound=Contract)


@asynccontextmanager
async def bind(contract: type[C], implementation: C, mode: CallMode) -> AsyncIterator[C]:
    """The contract as other services see it, in one call mode.

    ``local`` is what one process does. ``wire`` goes through the real internal route, with passport and JSON, and repeats each
    idempotent call once: an answer that differs raises `BrokenPromise`. ``network`` does the same over a socket of this machine,
    with the transport and the server of several processes.
    """
    if mode == "local":
        yield bind_local(contract, implementation)
        return
    key = SigningKey.generate()
    app = FastAPI(openapi_url=None)
    app.include_router(call_router(implementation, contract, TokenVerifier([key])))
    if mode == "wire":
        yield repeating(contract, bind_wire(contract, AsgiTransport(app), Passports(key, caller="tests")))
        return
    callees = Callees(PlatformSettings(), key)
    async with _listening(app) as url:
        try:
            yield repeating(contract, callees.bind(contract, [url], caller="tests"))
        finally:
            await callees.close()


@asynccontextmanager
async def _listening(app: FastAPI) -> AsyncIterator[str]:
    """The address at which the application is served for the block."""
    bound = socket.create_server(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", reset_contextvars=True))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        await server.listening.wait()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.force_exit = True
        server.leaving.set()
        await serving
        bound.close()


class _Server(uvicorn.Server):
    """A server within a test: it tells when it listens, leaves signals alone, and ends at once."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.leaving = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the test runner."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        """Wait until the test is over."""
        await self.on_tick(0)  # the date of its answers
        await self.leaving.wait()
