from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from trenza.chassis.context import Principal
from trenza.chassis.data import Database
from trenza.chassis.http.idempotency import Idempotency, IdempotencyKeyInUse, fingerprint_of, free_interrupted_keys
from trenza.chassis.http.problem import Problem
from trenza.chassis.testing.clock import ManualClock

ANA = Principal(subject="ana")


class Orders:
    """What the tests' route does: it counts how often it really ran."""

    def __init__(self) -> None:
        self.runs = 0
        self.status = 201
        self.wait: Callable[[], Awaitable[object]] | None = None

    async def place(self) -> Response:
        self.runs += 1
        number = self.runs
        if self.wait is not None:
            await self.wait()
        if self.status == 999:
            raise Problem(400, "NO")
        headers = {"Location": f"/orders/{number}", "Link": "<a>", "Set-Cookie": "a=b"}
        return JSONResponse({"order": number}, self.status, headers)


@pytest.fixture
def orders() -> Orders:
    return Orders()


@pytest.fixture
def idempotency(database: Database, clock: ManualClock) -> Idempotency:
    """On both databases."""
    return Idempotency(database, clock)


@pytest.fixture
async def shop(app: FastAPI, client: httpx.AsyncClient, orders: Orders, idempotency: Idempotency) -> httpx.AsyncClient:
    """A client of a route that honours the key."""

    @app.post("/orders")
    async def order(request: Request) -> Response:
        principal = Principal(subject=request.headers.get("X-Who", "ana"))
        return await idempotency.run(
            request.headers.get("Idempotency-Key"),
            principal=principal,
            route="/orders",
            fingerprint=fingerprint_of(await request.body()),
            produce=orders.place,
        )

    return client


async def send(shop: httpx.AsyncClient, key: str = "k1", body: bytes = b"one", who: str = "ana") -> httpx.Response:
    return await shop.post("/orders", content=body, headers={"Idempotency-Key": key, "X-Who": who})


async def test_the_same_request_gets_the_same_answer_and_runs_once(shop: httpx.AsyncClient, orders: Orders) -> None:
    first = await send(shop)
    again = await send(shop)
    assert orders.runs == 1
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, b'{"order":1}')
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    for name in ("location", "content-type", "content-length", "link", "set-cookie"):
        assert again.headers.get_list(name) == first.headers.get_list(name)


async def test_without_a_key_every_request_runs(shop: httpx.AsyncClient, orders: Orders) -> None:
    for _ in range(2):
        assert (await shop.post("/orders", content=b"one")).status_code == 201
    assert orders.runs == 2


async def test_keys_belong_to_their_principal(shop: httpx.AsyncClient, orders: Orders) -> None:
    await send(shop, who="ana")
    await send(shop, who="eva", body=b"two")
    assert orders.runs == 2


async def test_another_request_under_the_same_key_is_refused(shop: httpx.AsyncClient, orders: Orders) -> None:
    await send(shop)
    answer = await send(shop, body=b"another")
    assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert orders.runs == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "é"])
async def test_a_key_is_printable_and_not_endless(shop: httpx.AsyncClient, orders: Orders, key: str) -> None:
    answer = await shop.post("/orders", headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_IDEMPOTENCY_KEY")
    assert orders.runs == 0


@pytest.mark.parametrize("key", ["x", "x" * 255, '"quoted key, with ~ all!"'])
async def test_any_other_key_is_good(shop: httpx.AsyncClient, key: str) -> None:
    assert (await send(shop, key)).status_code == 201
    assert (await send(shop, key)).headers["idempotency-replayed"] == "true"


async def test_fifty_at_once_run_once(shop: httpx.AsyncClient, orders: Orders) -> None:
    running, end = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        running.set()
        await end.wait()

    orders.wait = hold
    requests = [asyncio.create_task(send(shop)) for _ in range(50)]
    refused: list[httpx.Response] = []
    while len(refused) < 49:
        done, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
        refused.extend(task.result() for task in done)
        requests = [task for task in requests if task not in done]
    assert {answer.status_code for answer in refused} == {409}
    assert {answer.json()["code"] for answer in refused} == {"IDEMPOTENCY_KEY_IN_USE"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert running.is_set()
    end.set()
    assert (await requests[0]).json() == {"order": 1}
    assert (await send(shop)).json() == {"order": 1}
    assert orders.runs == 1


async def test_a_failure_is_not_remembered(shop: httpx.AsyncClient, orders: Orders) -> None:
    orders.status = 503
    assert (await send(shop)).status_code == 503
    orders.status = 999  # raises
    assert (await send(shop)).status_code == 400
    orders.status = 201
    answer = await send(shop)
    assert (answer.json(), orders.runs) == ({"order": 3}, 3)


async def test_a_refusal_that_was_answered_is_remembered(shop: httpx.AsyncClient, orders: Orders) -> None:
    orders.status = 409
    await send(shop)
    orders.status = 201
    assert (await send(shop)).status_code == 409
    assert orders.runs == 1


async def test_after_a_crash_the_key_is_free_when_its_lease_has_run_out(
    idempotency: Idempotency, orders: Orders, clock: ManualClock
) -> None:
    started = asyncio.Event()

    async def never_ends() -> Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def run(produce: Callable[[], Awaitable[Response]]) -> Response:
        return await idempotency.run("k", principal=ANA, route="/o", fingerprint="f", produce=produce)

    dead = asyncio.create_task(run(never_ends))
    await started.wait()
    dead.cancel()  # as a killed process: nobody releases the claim
    with pytest.raises(asyncio.CancelledError):
        await dead
    clock.advance(59)
    with pytest.raises(IdempotencyKeyInUse):
        await run(orders.place)
    clock.advance(2)
    assert (await run(orders.place)).status_code == 201
    assert (await run(orders.place)).headers["idempotency-replayed"] == "true"
    assert orders.runs == 1


async def test_who_is_alone_need_not_wait_for_the_lease_of_a_dead_process(
    idempotency: Idempotency, orders: Orders, database: Database, clock: ManualClock
) -> None:
    request: Any = {"principal": ANA, "route": "/orders", "fingerprint": "f"}
    begun = asyncio.Event()

    async def die() -> Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    dying = asyncio.create_task(idempotency.run("k", produce=die, **request))
    await begun.wait()
    with pytest.raises(IdempotencyKeyInUse):
        await idempotency.run("k", produce=orders.place, **request)
    await free_interrupted_keys(database, clock.now())
    assert (await Idempotency(database, clock).run("k", produce=orders.place, **request)).status_code == 201
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert orders.runs == 1


async def test_who_lost_the_claim_to_another_process_overwrites_nothing(
    idempotency: Idempotency, orders: Orders, database: Database, clock: ManualClock
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Response:
        started.set()
        await go_on.wait()
        return JSONResponse("slow")

    request: Any = {"principal": ANA, "route": "/o", "fingerprint": "f"}
    first = asyncio.create_task(idempotency.run("k", produce=slow, **request))
    await started.wait()
    clock.advance(61)
    with pytest.raises(IdempotencyKeyInUse):  # where it runs it is not forgotten, whatever became of the renewals
        await idempotency.run("k", produce=orders.place, **request)
    successor = await Idempotency(database, clock).run("k", produce=orders.place, **request)
    go_on.set()
    assert (await first).body == b'"slow"'
    assert (await idempotency.run("k", produce=orders.place, **request)).body == successor.body
    assert orders.runs == 1


async def test_answers_are_kept_for_a_day_and_then_purged(
    shop: httpx.AsyncClient, orders: Orders, idempotency: Idempotency, clock: ManualClock
) -> None:
    await send(shop, "old")
    clock.advance(timedelta(hours=23).total_seconds())
    assert (await send(shop, "old")).headers["idempotency-replayed"] == "true"
    await send(shop, "new")
    assert await idempotency.purge() == 0
    clock.advance(timedelta(hours=2).total_seconds())
    answer = await send(shop, "old", b"even another request")
    assert "idempotency-replayed" not in answer.headers
    assert orders.runs == 3
    clock.advance(timedelta(hours=22).total_seconds())
    assert await idempotency.purge() == 1, "that of the key 'new'"
    assert (await send(shop, "old", b"even another request")).headers["idempotency-replayed"] == "true"


async def test_a_stream_cannot_be_remembered(idempotency: Idempotency) -> None:
    async def stream() -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"x"

        return StreamingResponse(body())

    with pytest.raises(TypeError, match="whole response"):
        await idempotency.run("k", principal=ANA, route="/o", fingerprint="f", produce=stream)


def test_different_parts_have_different_fingerprints() -> None:
    prints = [
        fingerprint_of("a", "b"),
        fingerprint_of("ab", ""),
        fingerprint_of("", "ab"),
        fingerprint_of("ab"),
        fingerprint_of(),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint_of("a", b"b") == prints[0]
