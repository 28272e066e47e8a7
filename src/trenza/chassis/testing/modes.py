"""One contract, bound in each of the ways in which a deployment may bind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, TypeVar

from fastapi import FastAPI

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.calls import Passports, bind_local, bind_wire, call_router
from trenza.chassis.contract import Contract
from trenza.chassis.testing.asgi import AsgiTransport
from trenza.chassis.testing.repeating import repeating

__all__ = ["CALL_MODES", "CallMode", "bind"]

CallMode = Literal["local", "wire"]
CALL_MODES: tuple[CallMode, ...] = ("local", "wire")

C = TypeVar("C", bound=Contract)


@asynccontextmanager
async def bind(contract: type[C], implementation: C, mode: CallMode) -> AsyncIterator[C]:
    """The contract as other services see it, in one call mode.

    ``local`` is what one process does. ``wire`` goes through the real internal route, with passport and JSON, and repeats each
    idempotent call once: an answer that differs raises `BrokenPromise`.
    """
    if mode == "local":
        yield bind_local(contract, implementation)
        return
    key = SigningKey.generate()
    app = FastAPI(openapi_url=None)
    app.include_router(call_router(implementation, contract, TokenVerifier([key])))
    yield repeating(contract, bind_wire(contract, AsgiTransport(app), Passports(key, caller="tests")))
