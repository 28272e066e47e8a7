"""The transport over real sockets, before callees of every ill: what is tried again, what is not, and how each call ends."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chassis.calls.scripted_server import (
    Behaviour,
    ScriptedServer,
    answer,
    broke,
    garbage,
    hang,
    not_run,
    reset,
    result,
    vanish,
)

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.calls.budget import RetryBudget, pause_before
from trenza.chassis.calls.callees import Callees
from trenza.chassis.context import Context, use_context
from trenza.chassis.contract import CallFailed, Contract, ContractError, operation
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.metrics import registry
from trenza.chassis.testing import ManualClock
from trenza.chassis.testing.server_process import free_port

KEY = SigningKey.generate()


class Overloaded(ContractError):
    status = 422


class Scales(Contract, service="scales"):
    @operation(idempotent=True, timeout=5, errors=(Overloaded,))
    @abstractmethod
    async def read(self) -> int: ...

    @operation(timeout=5)
    @abstractmethod
    async def tare(self) -> int: ...

    @operation(idempotent=True, timeout=5)
    @abstractmethod
    async def describe(self, *, text: str) -> str: ...


class Now:
    """A monotonic clock in the test's hands."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Kitchen:
    """What calls the scales."""

    def __init__(self, callees: Callees, scales: Scales, now: Now) -> None:
        self.callees, self.scales, self.now = callees, scales, now

    @property
    def state(self) -> dict[str, Any]:
        return self.callees.states()["scales"]


@asynccontextmanager
async def kitchen(*urls: str, clock: ManualClock | None = None, **settings: float) -> AsyncIterator[Kitchen]:
    now = Now()
    platform = PlatformSettings.model_validate({"call_retry_seconds": 0.01, **settings})
    callees = Callees(platform, KEY, clock, monotonic=now)
    try:
        yield Kitchen(callees, callees.bind(Scales, urls, caller="stove"), now)
    finally:
        await callees.close()


def nobody() -> str:
    return f"http://127.0.0.1:{free_port()}"


def counted(name: str, **labels: str) -> float:
    return registry().get_sample_value(name, {"callee": "scales", **labels}) or 0.0


async def test_a_call_over_a_socket() -> None:
    async with ScriptedServer.running(result(b"7")) as server, kitchen(server.url) as here:
        before = counted("trenza_calls_total", operation="read", outcome="result")
        with use_context(Context(correlation_id="c-1", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")):
            assert [await here.scales.read() for _ in range(3)] == [7, 7, 7]
        assert counted("trenza_calls_total", operation="read", outcome="result") == before + 3
        assert counted("trenza_call_seconds_count", operation="read") >= 3
        assert here.state == {
            "breaker": "closed",
            "retry_in": 0.0,
            "in_flight": 0,
            "replicas": [{"url": server.url, "state": "ready", "outstanding": 0}],
        }
    assert server.connections == 1, "the connection is kept"
    head = server.requests[0].lower()
    assert head.startswith("post /_call/scales/read http/1.1")
    assert "x-correlation-id: c-1\r\n" in head
    assert f"traceparent: 00-{'a' * 32}" in head
    assert "content-type: application/json\r\n" in head
    assert "cookie" not in head
    assert "accept-encoding" not in head
    milliseconds = re.search(r"trenza-deadline-ms: (\d+)", head)
    assert milliseconds is not None
    assert 4000 < int(milliseconds[1]) <= 5000


# Retries.


@pytest.mark.parametrize("ill", [reset, vanish, garbage, answer(500, {}, b"oops"), answer(504, {}, b"<html>")])
async def test_what_is_idempotent_is_asked_again(ill: Behaviour) -> None:
    async with ScriptedServer.running(ill, ill, result(b"5")) as server, kitchen(server.url) as here:
        assert await here.scales.read() == 5
    assert len(server.requests) == 3


@pytest.mark.parametrize("ill", [reset, vanish, garbage, answer(500, {}, b"oops")])
async def test_three_attempts_are_all(ill: Behaviour) -> None:
    async with ScriptedServer.running(ill) as server, kitchen(server.url) as here:
        with pytest.raises(CallFailed) as caught:
            await here.scales.read()
    assert caught.value.ran is None
    assert len(server.requests) == 3


@pytest.mark.parametrize("ill", [reset, vanish, garbage, broke, answer(500, {}, b"oops")])
async def test_what_may_have_run_is_never_asked_twice_unless_idempotent(ill: Behaviour) -> None:
    async with ScriptedServer.running(ill) as one, ScriptedServer.running(ill) as two, kitchen(one.url, two.url) as here:
        with pytest.raises(CallFailed) as caught:
            await here.scales.tare()
    assert caught.value.ran is None
    assert len(one.requests) + len(two.requests) == 1


@pytest.mark.parametrize(
    "said",
    [
        answer(422, {"trenza-outcome": "refused"}, b'{"code": "OVERLOADED", "detail": "too much"}'),
        answer(404, {"trenza-outcome": "not-run"}, b'{"detail": "no such operation"}'),
        answer(401, {"trenza-outcome": "not-run"}, b'{"detail": "no passport"}'),
        broke,
    ],
)
async def test_an_answer_is_final(said: Behaviour) -> None:
    async with ScriptedServer.running(said) as server, kitchen(server.url, call_failure_threshold=1) as here:
        for _ in range(3):
            with pytest.raises((Overloaded, CallFailed)):
                await here.scales.read()
        assert here.state["breaker"] == "closed"
    assert len(server.requests) == 3


async def test_another_replica_takes_over_at_once_for_every_operation() -> None:
    async with (
        ScriptedServer.running(not_run()) as draining,
        ScriptedServer.running(result(b"2")) as well,
        kitchen(nobody(), draining.url, well.url, call_retry_seconds=60) as here,
    ):
        assert [await here.scales.tare() for _ in range(20)] == [2] * 20
        states = {each["url"]: each["state"] for each in here.state["replicas"]}
    assert states[well.url] == "ready"
    assert len(draining.requests) <= 1, "one that says that it is away is left alone"


async def test_a_callee_that_starts_again_is_waited_for_by_any_operation() -> None:
    async with ScriptedServer.running(not_run(), not_run(), result(b"3")) as server, kitchen(server.url) as here:
        assert await here.scales.tare() == 3


async def test_a_callee_that_is_not_there_was_never_asked() -> None:
    async with kitchen(nobody()) as here:
        with pytest.raises(CallFailed) as caught:
            await here.scales.tare()
    assert caught.value.ran is False
    assert caught.value.reason == "it refused the connection"


async def test_an_attempt_that_may_have_run_is_remembered_whatever_the_next_one_says() -> None:
    async with ScriptedServer.running(reset, not_run(404)) as server, kitchen(server.url) as here:
        with pytest.raises(CallFailed) as caught:
            await here.scales.read()
    assert caught.value.ran is None
    assert len(server.requests) == 2


async def test_retry_after_is_honoured() -> None:
    async with ScriptedServer.running(not_run(retry_after="1"), result()) as server, kitchen(server.url) as here:
        began = time.monotonic()
        assert await here.scales.tare() == 1
        assert time.monotonic() - began >= 1


@pytest.mark.parametrize("value", ["9", "Thu, 01 Jan 2026 12:00:09 GMT"])
async def test_a_pause_beyond_the_deadline_is_not_waited(value: str) -> None:
    clock = ManualClock(datetime(2026, 1, 1, 12, tzinfo=UTC))
    async with ScriptedServer.running(not_run(retry_after=value)) as server, kitchen(server.url, clock=clock) as here:
        began = time.monotonic()
        with pytest.raises(CallFailed, match="draining") as caught:
            await here.scales.read()
        assert time.monotonic() - began < 2
    assert caught.value.ran is False
    assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["soon", "-1", "", "Thu, 01 Jan 2026 12:00:09"])
async def test_a_retry_after_that_cannot_be_read_is_none(value: str) -> None:
    async with ScriptedServer.running(not_run(retry_after=value), result()) as server, kitchen(server.url) as here:
        assert await here.scales.tare() == 1


async def test_retries_stay_within_their_budget() -> None:
    async with (
        ScriptedServer.running(reset) as server,
        kitchen(server.url, call_failure_threshold=1000) as here,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(50):
            group.create_task(_failing(here.scales))
    assert len(server.requests) == 50 + 10 + 10, "a fifth of the calls, and one for each of ten seconds"


async def _failing(scales: Scales) -> None:
    with pytest.raises(CallFailed):
        await scales.read()


@given(st.lists(st.tuples(st.sampled_from(["call", "retry"]), st.floats(0, 3)), max_size=300))
def test_the_budget_holds_in_every_window(events: list[tuple[str, float]]) -> None:
    now = Now()
    budget = RetryBudget(monotonic=now)
    calls: list[int] = []
    retries: list[int] = []
    for kind, passed in events:
        now.seconds += passed
        second = int(now.seconds)
        if kind == "call":
            budget.count_call()
            calls.append(second)
            continue
        in_window = sum(each > second - 10 for each in calls) * 0.2 + 10
        used = sum(each > second - 10 for each in retries)
        assert budget.withdraw() is (used + 1 <= in_window)
        if used + 1 <= in_window:
            retries.append(second)


@given(st.integers(2, 60), st.floats(0.001, 60), st.randoms())
def test_pauses_lie_between_floor_and_ceiling(attempt: int, base: float, chance: object) -> None:
    longest = min(60.0, base * 2.0 ** (attempt - 2))
    assert longest * 0.1 <= pause_before(attempt, base, chance) <= longest  # type: ignore[arg-type]  # a random.Random


# Deadlines.


async def test_a_callee_that_takes_the_request_and_never_answers_costs_no_more_than_the_deadline() -> None:
    async with ScriptedServer.running(hang) as server, kitchen(server.url) as here:
        began = time.monotonic()
        with use_context(Context(correlation_id="c").with_deadline_in(0.2)), pytest.raises(CallFailed) as caught:
            await here.scales.read()
        assert 0.15 < time.monotonic() - began < 1
        assert (caught.value.ran, caught.value.reason) == (None, "it did not answer in time")
        async with asyncio.timeout(5):
            await server.ended.wait()  # the connection is closed, not kept for a later call
        assert here.state["in_flight"] == 0
        assert here.state["breaker"] == "closed", "0.2 s say nothing of the callee"


async def test_an_answer_that_comes_too_late_reaches_nobody() -> None:
    release = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await result(b"111")(writer)

    async with ScriptedServer.running(late, result(b"222")) as server, kitchen(server.url) as here:
        with use_context(Context(correlation_id="c").with_deadline_in(0.1)), pytest.raises(CallFailed):
            await here.scales.read()
        release.set()
        assert await here.scales.read() == 222
    assert server.connections == 2


async def test_a_socket_that_accepts_and_never_reads() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with kitchen(f"http://127.0.0.1:{listener.getsockname()[1]}") as here:
            with use_context(Context(correlation_id="c").with_deadline_in(0.1)), pytest.raises(CallFailed) as caught:
                await here.scales.read()
    assert caught.value.ran is None


async def test_a_caller_that_gives_up_ends_the_request() -> None:
    async with ScriptedServer.running(hang) as server, kitchen(server.url) as here:
        call = asyncio.ensure_future(here.scales.read())
        async with asyncio.timeout(5):
            await server.asked(1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await server.ended.wait()
        assert here.state["in_flight"] == 0


# Breaker and bulkhead.


async def test_a_callee_that_does_not_answer_is_left_alone_until_a_probe_succeeds() -> None:
    async with ScriptedServer.running(reset, reset, reset, reset, reset, result()) as server, kitchen(server.url) as here:
        for _ in range(5):
            with pytest.raises(CallFailed):
                await here.scales.tare()
        assert here.state["breaker"] == "open"
        assert counted("trenza_breaker_state") == 2
        before = counted("trenza_calls_rejected_total", reason="breaker")
        with pytest.raises(CallFailed, match=r"in a row; it is tried again in 60\.0 s") as caught:
            await here.scales.tare()
        assert caught.value.ran is False
        assert counted("trenza_calls_rejected_total", reason="breaker") == before + 1
        assert len(server.requests) == 5
        here.now.seconds += 60
        assert await here.scales.tare() == 1
        assert here.state["breaker"] == "half-open"
        assert await here.scales.tare() == 1
        assert here.state["breaker"] == "closed"


async def test_one_bad_replica_does_not_open_the_breaker() -> None:
    async with ScriptedServer.running(result()) as server, kitchen(nobody(), server.url, call_failure_threshold=1) as here:
        for _ in range(30):
            here.now.seconds += 31  # the bad one is tried again and again
            assert await here.scales.tare() == 1
        assert here.state["breaker"] == "closed"


async def test_a_fault_in_an_operation_does_not_open_the_breaker() -> None:
    async with ScriptedServer.running(broke) as server, kitchen(server.url, call_failure_threshold=1) as here:
        for _ in range(3):
            with pytest.raises(CallFailed, match="it broke"):
                await here.scales.tare()
        assert here.state["breaker"] == "closed"


async def test_time_outs_open_the_breaker_and_set_the_replica_aside() -> None:
    async with ScriptedServer.running(hang) as server, kitchen(server.url) as here:
        with use_context(Context(correlation_id="c").with_deadline_in(1.1)):
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(_failing(here.scales))
        assert here.state["breaker"] == "open"
        assert here.state["replicas"][0]["state"] == "aside"


async def test_only_so_many_calls_are_under_way_and_the_others_wait_for_a_moment() -> None:
    go = asyncio.Event()

    async def held(writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await result()(writer)

    async with ScriptedServer.running(held) as server, kitchen(server.url, call_concurrency=2) as here:
        running = [asyncio.ensure_future(here.scales.tare()) for _ in range(2)]
        await server.asked(2)
        with pytest.raises(CallFailed, match="too many calls to scales are under way") as caught:
            await here.scales.tare()
        assert caught.value.ran is False
        assert len(server.requests) == 2
        waiting = asyncio.ensure_future(here.scales.tare())
        go.set()
        assert await asyncio.gather(*running, waiting) == [1, 1, 1]


async def test_a_breaker_that_is_open_is_not_waited_for_behind_others() -> None:
    async with ScriptedServer.running(hang) as server, kitchen(server.url, call_failure_threshold=1, call_concurrency=1) as here:
        with use_context(Context(correlation_id="c").with_deadline_in(1.1)), pytest.raises(CallFailed):
            await here.scales.tare()
        began = time.monotonic()
        with pytest.raises(CallFailed, match="did not answer several times"):
            await here.scales.tare()
        assert time.monotonic() - began < 0.5


# What aiohttp must not do.


async def test_connections_that_were_reset_while_idle_are_not_used() -> None:
    async with ScriptedServer.running(result()) as server, kitchen(server.url) as here:
        assert await here.scales.tare() == 1
        server.ended.clear()
        server.drop()
        async with asyncio.timeout(5):
            await server.ended.wait()
        assert await here.scales.tare() == 1
    assert server.connections == 2


async def test_a_redirect_is_not_followed_and_cookies_are_not_kept() -> None:
    async with ScriptedServer.running(result()) as elsewhere:
        leads_away = answer(307, {"location": f"{elsewhere.url}/_call/scales/read", "set-cookie": "a=b"}, b"")
        async with ScriptedServer.running(leads_away) as server, kitchen(server.url) as here:
            with pytest.raises(CallFailed, match="HTTP 307 without an outcome"):
                await here.scales.tare()
            with pytest.raises(CallFailed):
                await here.scales.tare()
    assert elsewhere.requests == []
    assert "cookie" not in server.requests[1].lower()


async def test_an_endless_answer_is_cut() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntrenza-outcome: result\r\nconnection: close\r\n\r\n")
        while True:
            writer.write(b"x" * 1_000_000)
            await writer.drain()

    async with ScriptedServer.running(endless) as server, kitchen(server.url) as here:
        with pytest.raises(CallFailed, match="its answer is larger than 16777216 bytes"):
            await here.scales.tare()


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer.running(result()) as server, ScriptedServer.running(garbage) as proxy, kitchen(server.url) as here:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert await here.scales.tare() == 1


def test_a_service_has_one_set_of_addresses() -> None:
    callees = Callees(PlatformSettings(), KEY)
    first = callees.transport("scales", ["http://a:1", "http://b:1"])
    assert callees.transport("scales", ["http://b:1/", "http://a:1"]) is first
    with pytest.raises(ValueError, match="scales was at http://a:1, http://b:1, now at http://c:1"):
        callees.transport("scales", ["http://c:1"])
