"""A process that serves the scales: ``python scales_process.py PORT``, with the platform's settings from the environment."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from abc import abstractmethod

import uvicorn
from fastapi import FastAPI

from trenza.chassis.auth.key_files import KeyFiles
from trenza.chassis.auth.permissions import public
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.blobs import open_blobs
from trenza.chassis.calls import LargeBodies, call_router
from trenza.chassis.context import current_context
from trenza.chassis.contract import Contract, Value, operation
from trenza.chassis.peers import server_tls
from trenza.chassis.settings import PlatformSettings, load_settings


class Reading(Value):
    grams: int
    process: int
    subject: str


class Scales(Contract, service="scales"):
    @operation(idempotent=True, timeout=10)
    @abstractmethod
    async def read(self, *, grams: int) -> Reading: ...

    @operation(timeout=10)
    @abstractmethod
    async def count(self) -> int: ...

    @operation(timeout=10)
    @abstractmethod
    async def wait(self, *, seconds: float) -> None: ...

    @operation(idempotent=True, timeout=60)
    @abstractmethod
    async def echo(self, *, data: bytes) -> bytes: ...


class Kitchen(Scales):
    def __init__(self) -> None:
        self.counted = 0

    async def read(self, *, grams: int) -> Reading:
        return Reading(grams=grams, process=os.getpid(), subject=current_context().principal.subject)

    async def count(self) -> int:
        self.counted += 1
        return self.counted

    async def wait(self, *, seconds: float) -> None:
        self.counted += 100
        await asyncio.sleep(seconds)

    async def echo(self, *, data: bytes) -> bytes:
        return data


class TellingServer(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print("ready", flush=True)  # noqa: T201 - the test waits for this line


def main() -> None:
    settings = load_settings(PlatformSettings)
    keys = KeyFiles.of(settings)
    app = FastAPI(openapi_url=None)
    app.include_router(call_router(Kitchen(), Scales, TokenVerifier(keys), large=LargeBodies(open_blobs(settings))))

    @app.get("/keys", dependencies=[public("a test asks which keys are trusted")])
    async def trusted() -> dict[str, list[dict[str, str]]]:
        return keys.jwks()

    config = uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, lifespan="off", **server_tls(settings))
    TellingServer(config).run()


if __name__ == "__main__":
    main()
