"""What a call through a contract costs over a plain await: bound locally, and over the internal route."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from statistics import median
from uuid import UUID, uuid4

import uvloop
from bench.tables import Figures
from fastapi import FastAPI

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.calls import Passports, bind_local, bind_wire, call_router
from trenza.chassis.context import Context, Principal, use_context
from trenza.chassis.contract import Contract, Value, operation
from trenza.chassis.testing import AsgiTransport

REPEATS = 15
LOCAL_CALLS = 5_000
WIRE_CALLS = 200


class Hold(Value):
    """A small value."""

    id: UUID
    work_id: UUID
    cents: int


class Payments(Contract, service="payments"):
    """Two operations: one has its answer at hand, one waits for something."""

    @operation(idempotent=True)
    @abstractmethod
    async def find_hold(self, *, work_id: UUID, cents: int) -> Hold:
        """What is at hand."""

    @operation(idempotent=True)
    @abstractmethod
    async def place_hold(self, *, work_id: UUID, cents: int) -> Hold:
        """What takes a moment."""


class Bank(Payments):
    """Answers with one and the same value, so that the call is all that is measured."""

    def __init__(self) -> None:
        self._hold = Hold(id=uuid4(), work_id=uuid4(), cents=100)

    async def find_hold(self, *, work_id: UUID, cents: int) -> Hold:  # noqa: ARG002 - as in the contract
        """Answer at once."""
        return self._hold

    async def place_hold(self, *, work_id: UUID, cents: int) -> Hold:  # noqa: ARG002 - as in the contract
        """Answer after one turn of the event loop, as anything that does input or output."""
        await asyncio.sleep(0)
        return self._hold


async def _microseconds(function: Callable[..., Awaitable[Hold]], calls: int) -> float:
    """The mean time of a call in a row of calls."""
    work_id = uuid4()
    start = time.perf_counter()
    for _ in range(calls):
        await function(work_id=work_id, cents=100)
    return (time.perf_counter() - start) / calls * 1e6


async def _all() -> dict[str, float]:
    """The median of each way of calling; the ways take turns, so that a busy moment of the machine hits all of them."""
    bank, key, app = Bank(), SigningKey.generate(), FastAPI(openapi_url=None)
    app.include_router(call_router(bank, Payments, TokenVerifier([key])))
    local, wire = bind_local(Payments, bank), bind_wire(Payments, AsgiTransport(app), Passports(key, caller="bench"))
    ways: dict[str, tuple[Callable[..., Awaitable[Hold]], int]] = {
        "find, plain": (bank.find_hold, LOCAL_CALLS),
        "find, local": (local.find_hold, LOCAL_CALLS),
        "place, plain": (bank.place_hold, LOCAL_CALLS),
        "place, local": (local.place_hold, LOCAL_CALLS),
        "find, wire": (wire.find_hold, WIRE_CALLS),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with use_context(Context(correlation_id="bench", principal=Principal(subject="ana", scopes=("payments:viewer",)))):
        for _ in range(REPEATS):
            for name, (function, calls) in ways.items():
                times[name].append(await _microseconds(function, calls))
    return {name: median(values) for name, values in times.items()}


def measure() -> Figures:
    """Call in every way and compare."""
    found = uvloop.run(_all())

    def row(title: str, name: str, plain: str) -> tuple[str, ...]:
        return title, f"{found[name]:.2f}", f"{found[name] - found[plain]:.2f}", f"{found[name] / found[plain]:.0f}x"

    return Figures(
        title="Calls through a contract",
        how=f"Microseconds of a call, median of {REPEATS} rows of calls, one caller, uvloop. The wire is the internal route with "
        "passport and JSON over ASGI, without a socket. Promise: a local call costs less than 20 µs over a plain await.",
        columns=("call", "µs", "over plain", "ratio"),
        rows=(
            row("plain await, answer at hand", "find, plain", "find, plain"),
            row("local binding, answer at hand", "find, local", "find, plain"),
            row("plain await, callee waits once", "place, plain", "place, plain"),
            row("local binding, callee waits once", "place, local", "place, plain"),
            row("wire binding, answer at hand", "find, wire", "find, plain"),
        ),
    )
