"""Arguments and results beyond 16 MiB: they arrive through the object store, and nothing of them stays there."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.passports import issue_passport
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.blobs import Blobs, BlobStat, BlobsUnavailable, open_blobs
from trenza.chassis.blobs.local import LocalBlobs
from trenza.chassis.blobs.signatures import UrlSigner
from trenza.chassis.calls import LargeBodies, Passports, bind_wire, call_router
from trenza.chassis.calls.protocol import LARGEST_BODY_BYTES, MAX_BODY_BYTES
from trenza.chassis.context import ANONYMOUS, Context, use_context
from trenza.chassis.contract import CallFailed, Contract, ContractError, operation
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing import AsgiTransport, ManualClock

KEY = SigningKey.generate()
LARGE = "x" * (MAX_BODY_BYTES + 1)


class Torn(ContractError):
    status = 422


class Press(Contract, service="press"):
    @operation(idempotent=True, errors=(Torn,))
    @abstractmethod
    async def copy(self, *, text: str) -> str: ...

    @operation(errors=(Torn,))
    @abstractmethod
    async def measure(self, *, text: str, end: str = "") -> int: ...

    @operation()
    @abstractmethod
    async def invent(self) -> str: ...


class Printer(Press):
    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def copy(self, *, text: str) -> str:
        return text

    async def measure(self, *, text: str, end: str = "") -> int:
        self.begun.set()
        if end == "torn":
            raise Torn("It is torn.")
        if end == "broken":
            raise ValueError(end)
        if end == "endless":
            await asyncio.Event().wait()
        return len(text)

    async def invent(self) -> str:
        return LARGE


class Shop:
    """The service before a store that both sides share."""

    def __init__(self, blobs: Blobs | None, clock: ManualClock) -> None:
        self.blobs, self.clock = blobs, clock
        self.printer = Printer()
        self.large = LargeBodies(blobs, clock)
        self.app = FastAPI(openapi_url=None)
        self.app.include_router(call_router(self.printer, Press, TokenVerifier([KEY]), clock=clock, large=self.large))
        self.press = self.calling(self.large)

    def calling(self, large: LargeBodies | None) -> Press:
        return bind_wire(Press, AsgiTransport(self.app), Passports(KEY, caller="shop", clock=self.clock), large=large)

    async def left(self) -> list[str]:
        assert self.blobs is not None
        return [stat.key async for stat in self.blobs.list("calls")]


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[Blobs]:
    opened = open_blobs(PlatformSettings(data_dir=tmp_path))
    yield opened
    await opened.close()


@pytest.fixture
def shop(blobs: Blobs, clock: ManualClock) -> Shop:
    return Shop(blobs, clock)


async def test_large_arguments_and_results_arrive_and_nothing_stays(shop: Shop) -> None:
    assert await shop.press.copy(text=LARGE) == LARGE
    assert await shop.press.measure(text=LARGE) == len(LARGE)
    assert await shop.press.invent() == LARGE
    assert await shop.left() == []


async def test_what_a_request_carries_needs_no_store(clock: ManualClock) -> None:
    shop = Shop(None, clock)
    assert await shop.press.measure(text="x" * (MAX_BODY_BYTES - 100)) == MAX_BODY_BYTES - 100
    with pytest.raises(CallFailed, match="more than a call carries, which is 16777216; pass the key of an object") as caught:
        await shop.press.measure(text=LARGE)
    assert caught.value.ran is False
    with pytest.raises(CallFailed, match="it broke"):
        await shop.press.invent()


@pytest.mark.parametrize(("end", "error"), [("torn", Torn), ("broken", CallFailed)])
async def test_nothing_stays_after_a_call_without_a_result(shop: Shop, end: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await shop.press.measure(text=LARGE, end=end)
    assert await shop.left() == []


async def test_nothing_stays_after_a_time_out_or_a_cancellation(shop: Shop) -> None:
    with use_context(Context(correlation_id="c").with_deadline_in(1.0)), pytest.raises(CallFailed, match="in time"):
        await shop.press.measure(text=LARGE, end="endless")
    assert await shop.left() == []
    shop.printer.begun.clear()
    call = asyncio.ensure_future(shop.press.measure(text=LARGE, end="endless"))
    await shop.printer.begun.wait()
    assert len(await shop.left()) == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await shop.left() == []


class FailingBlobs(LocalBlobs):
    """A store that is full, or that cannot be read."""

    fails = "put"

    async def put(self, key: str, data: bytes, *, media_type: str) -> BlobStat:
        stored = await super().put(key, data, media_type=media_type)
        if self.fails == "put":
            raise BlobsUnavailable("The disk is full.")
        return stored

    async def get(self, key: str) -> bytes:
        if self.fails == "get":
            raise BlobsUnavailable("The disk cannot be read.")
        return await super().get(key)


@pytest.mark.parametrize("fails", ["put", "get"])
async def test_a_store_that_fails_fails_the_call_and_keeps_nothing(tmp_path: Path, clock: ManualClock, fails: str) -> None:
    blobs = FailingBlobs(
        tmp_path / "blobs", spool=tmp_path / "spool", url_signer=UrlSigner(b"0" * 32, public_url="http://shop", clock=clock)
    )
    blobs.fails = fails
    shop = Shop(blobs, clock)
    with pytest.raises(CallFailed, match="The disk") as caught:
        await shop.press.measure(text=LARGE)
    assert caught.value.ran is False
    assert not shop.printer.begun.is_set()
    assert await shop.left() == []
    with pytest.raises(CallFailed):
        await shop.press.invent()
    assert await shop.left() == []
    await blobs.close()


@pytest.mark.parametrize("key", ["photos/UP-1/a.jpg", "calls/../photos/a.jpg", "calls/2026-01-01/a.json", ""])
async def test_only_bodies_of_calls_are_fetched(shop: Shop, key: str) -> None:
    assert shop.blobs is not None
    await shop.blobs.put("photos/UP-1/a.jpg", b'{"text": "secret"}', media_type="application/json")
    passport = issue_passport(KEY, caller="shop", audience="press", principal=ANONYMOUS, clock=shop.clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=shop.app), base_url="http://shop") as client:
        headers = {"authorization": f"Passport {passport}", "trenza-body": key}
        response = await client.post("/_call/press/measure", headers=headers)
    assert (response.status_code, response.headers["trenza-outcome"]) == (400, "not-run")
    assert "not a key of a call's body" in response.json()["detail"]


async def test_an_object_that_is_gone_or_too_large_is_refused(shop: Shop) -> None:
    gone = f"calls/2026-01-01/{'0' * 36}.json"
    passport = issue_passport(KEY, caller="shop", audience="press", principal=ANONYMOUS, clock=shop.clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=shop.app), base_url="http://shop") as client:
        headers = {"authorization": f"Passport {passport}", "trenza-body": gone}
        response = await client.post("/_call/press/measure", headers=headers)
    assert (response.status_code, response.headers["trenza-outcome"]) == (400, "not-run")


def test_there_is_a_limit_for_all(blobs: Blobs) -> None:
    class Pretending(bytes):
        __slots__ = ()

        def __len__(self) -> int:
            return LARGEST_BODY_BYTES + 1

    with pytest.raises(Exception, match=f"more than a call carries, which is {LARGEST_BODY_BYTES}"):
        LargeBodies(blobs).is_large(Pretending())


async def test_what_a_dead_process_left_is_swept_after_a_day(shop: Shop) -> None:
    await shop.large.put(b"{}")
    shop.clock.advance(timedelta(days=1).total_seconds())
    await shop.large.put(b"{}")
    assert shop.blobs is not None
    await shop.blobs.put("photos/old.json", b"{}", media_type="application/json")
    await shop.large.sweep()
    assert len(await shop.left()) == 2
    shop.clock.advance(timedelta(days=1).total_seconds())
    await shop.large.sweep()
    assert len(await shop.left()) == 1
    assert await shop.blobs.get("photos/old.json") == b"{}"
