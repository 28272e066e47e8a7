"""The internal call protocol: who is let in, what stands on the wire, and how its failures look to a caller."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from trenza.chassis.auth.key_files import KeyFiles
from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.passports import issue_passport
from trenza.chassis.auth.permissions import check_routes
from trenza.chassis.auth.tokens import TokenVerifier, issue_token
from trenza.chassis.calls import Answer, Passports, TransportFailed, bind_wire, call_router
from trenza.chassis.context import Context, Principal, current_context, use_context
from trenza.chassis.contract import CallFailed, Contract, ContractError, Value, operation
from trenza.chassis.testing import AsgiTransport, ManualClock

KEY = SigningKey.generate()
ANA = Principal(subject="ana", scopes=("scales:admin",))


class Reading(Value):
    grams: Decimal
    by: str


class Overloaded(ContractError):
    status = 422
    code = "OVERLOADED"
    title = "Scales overloaded"


class Scales(Contract, service="scales"):
    @operation(idempotent=True, timeout=5, errors=(Overloaded,))
    @abstractmethod
    async def weigh(self, *, load: Decimal, unit: str = "g") -> Reading: ...

    @operation()
    @abstractmethod
    async def lie(self) -> int: ...


class KitchenScales(Scales):
    def __init__(self) -> None:
        self.weighed = 0

    async def weigh(self, *, load: Decimal, unit: str = "kg") -> Reading:
        self.weighed += 1
        if load > 5000:
            raise Overloaded("That is too much.", limit=5000, unit=unit)
        if load < 0:
            raise ValueError("secret of the scales")
        if load == 0:
            await asyncio.Event().wait()
        return Reading(grams=load, by=current_context().principal.subject + unit)

    async def lie(self) -> int:
        return "a lie"  # type: ignore[return-value]  # what a test is about


class Kitchen:
    """The service behind its real route, and a plain HTTP client before it."""

    def __init__(self, clock: ManualClock, keys: KeyFiles | None = None) -> None:
        self.scales = KitchenScales()
        self.clock = clock
        self.app = FastAPI(openapi_url=None)
        self.app.include_router(call_router(self.scales, Scales, TokenVerifier(keys or [KEY]), clock=clock))
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://kitchen")

    def passport(self, *, audience: str = "scales", key: SigningKey = KEY, principal: Principal = ANA) -> dict[str, str]:
        passport = issue_passport(key, caller="stove", audience=audience, principal=principal, clock=self.clock)
        return {"authorization": f"Passport {passport}"}

    async def post(self, operation: str, body: object, headers: Mapping[str, str]) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post(f"/_call/scales/{operation}", content=content, headers=dict(headers))


@pytest.fixture
def kitchen(clock: ManualClock) -> Kitchen:
    return Kitchen(clock)


async def test_a_result_on_the_wire(kitchen: Kitchen) -> None:
    response = await kitchen.post("weigh", {"load": "12.50", "of a newer caller": 1}, kitchen.passport())
    assert (response.status_code, response.headers["trenza-outcome"]) == (200, "result")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"result": {"grams": "12.50", "by": "anag"}}


async def test_a_refusal_on_the_wire_is_a_problem_document(kitchen: Kitchen) -> None:
    response = await kitchen.post("weigh", {"load": 6000}, {**kitchen.passport(), "x-correlation-id": "c-5"})
    assert (response.status_code, response.headers["trenza-outcome"]) == (422, "refused")
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["code"], problem["title"], problem["detail"]) == ("OVERLOADED", "Scales overloaded", "That is too much.")
    assert (problem["limit"], problem["unit"], problem["correlation_id"]) == (5000, "g", "c-5")


async def test_what_breaks_tells_nothing(kitchen: Kitchen) -> None:
    response = await kitchen.post("weigh", {"load": -1}, kitchen.passport())
    assert (response.status_code, response.headers["trenza-outcome"]) == (502, "broke")
    assert "secret" not in response.text
    assert "ValueError" not in response.text


async def test_the_callers_milliseconds_bound_the_callee(kitchen: Kitchen) -> None:
    response = await kitchen.post("weigh", {"load": 0}, {**kitchen.passport(), "trenza-deadline-ms": "20"})
    assert (response.status_code, response.headers["trenza-outcome"]) == (502, "timed-out")


@pytest.mark.parametrize(
    ("operation", "body", "headers", "status", "words"),
    [
        ("weigh", {"load": "much"}, {}, 422, "weigh: load: "),
        ("weigh", {}, {}, 422, "weigh: load: Field required"),
        ("weigh", b"{", {}, 422, "weigh: body: Invalid JSON"),
        ("weigh", [1], {}, 422, "weigh: body: "),
        ("weigh", {"load": 1}, {"trenza-deadline-ms": "soon"}, 400, "send whole milliseconds"),
        ("weigh", {"load": 1}, {"trenza-deadline-ms": "0"}, 502, "the deadline had passed before it started"),
        ("measure", {"load": 1}, {}, 404, "scales has no operation 'measure'"),
        ("__init__", {}, {}, 404, "scales has no operation"),
        ("weigh", b'{"load": 1, "unit": "' + b"x" * 17_000_000 + b'"}', {}, 413, "A call is at most 16777216 bytes"),
    ],
)
async def test_what_cannot_be_asked_does_not_run(
    *, kitchen: Kitchen, operation: str, body: object, headers: dict[str, str], status: int, words: str
) -> None:
    response = await kitchen.post(operation, body, {**kitchen.passport(), **headers})
    assert (response.status_code, response.headers["trenza-outcome"]) == (status, "not-run")
    assert words in response.json()["detail"]
    assert kitchen.scales.weighed == 0


def headers_without_a_passport(kitchen: Kitchen) -> dict[str, dict[str, str]]:
    """Ways to ask without the right passport."""
    token = issue_token(KEY, "ana", ["scales:admin"], timedelta(minutes=5), clock=kitchen.clock)
    genuine = kitchen.passport()["authorization"].removeprefix("Passport ")
    return {
        "nothing": {},
        "an access token": {"authorization": f"Bearer {token}"},
        "an access token as a passport": {"authorization": f"Passport {token}"},
        "a passport as an access token": {"authorization": f"Bearer {genuine}"},
        "a strange key": kitchen.passport(key=SigningKey.generate()),
        "a strange key for another service": kitchen.passport(key=SigningKey.generate(), audience="photos"),
        "rubbish": {"authorization": "Passport a.b.c"},
    }


async def test_nobody_comes_in_without_a_passport(kitchen: Kitchen) -> None:
    for way, headers in headers_without_a_passport(kitchen).items():
        response = await kitchen.post("weigh", {"load": 1}, headers)
        assert (response.status_code, response.headers["trenza-outcome"]) == (401, "not-run"), way
        assert response.headers["www-authenticate"] == "Passport", way
    assert kitchen.scales.weighed == 0


async def test_several_passports_are_no_passport(kitchen: Kitchen) -> None:
    headers = [*kitchen.passport().items(), *kitchen.passport().items()]
    response = await kitchen.http.post("/_call/scales/weigh", content=b'{"load": 1}', headers=headers)
    assert (response.status_code, response.headers["trenza-outcome"]) == (401, "not-run")


async def test_an_old_passport_is_no_passport(kitchen: Kitchen) -> None:
    headers = kitchen.passport()
    kitchen.clock.advance(66)
    assert (await kitchen.post("weigh", {"load": 1}, headers)).status_code == 401


async def test_a_passport_that_was_shown_before_is_checked_all_the_same(clock: ManualClock, tmp_path: Path) -> None:
    """Its time, its key, and every byte of it."""
    now = 0.0
    trusted = tmp_path / "trusted"
    SigningKey.load_or_create(tmp_path / "signing.pem")
    trusted.mkdir()
    (trusted / "a.jwk").write_text(json.dumps(KEY.verifying_key.jwk()))
    kitchen = Kitchen(clock, KeyFiles(tmp_path / "signing.pem", trusted, monotonic=lambda: now))
    shown = kitchen.passport()
    for _ in range(2):
        assert (await kitchen.post("weigh", {"load": 1}, shown)).status_code == 200
    header, claims, signature = shown["authorization"].split(".")
    forged = ".".join((header, claims, ("B" if signature[0] == "A" else "A") + signature[1:]))
    assert (await kitchen.post("weigh", {"load": 1}, {"authorization": forged})).status_code == 401
    clock.advance(64)
    assert (await kitchen.post("weigh", {"load": 1}, shown)).status_code == 200
    clock.advance(1)
    assert (await kitchen.post("weigh", {"load": 1}, shown)).status_code == 401, "it has expired"
    again = kitchen.passport()
    assert (await kitchen.post("weigh", {"load": 1}, again)).status_code == 200
    (trusted / "a.jwk").unlink()
    now += 2
    assert (await kitchen.post("weigh", {"load": 1}, again)).status_code == 401, "its key was revoked"


async def test_a_passport_for_another_service_is_refused_as_that(kitchen: Kitchen) -> None:
    response = await kitchen.post("weigh", {"load": 1}, kitchen.passport(audience="photos"))
    assert (response.status_code, response.headers["trenza-outcome"]) == (403, "not-run")
    assert response.json()["detail"] == "This passport is for the service 'photos', not for 'scales'."


async def test_the_operations_of_a_service_are_not_probed_without_a_passport(kitchen: Kitchen) -> None:
    assert (await kitchen.post("measure", {}, {})).status_code == 401


def test_the_route_is_among_those_that_say_who_may_use_them(kitchen: Kitchen) -> None:
    assert check_routes(kitchen.app) == ()


async def test_forged_correlation_ids_and_traces_do_not_travel(kitchen: Kitchen) -> None:
    headers = {**kitchen.passport(), "x-correlation-id": "a b level=error", "traceparent": "rubbish"}
    response = await kitchen.post("weigh", {"load": 9000}, headers)
    assert response.json()["correlation_id"] != "a b level=error"


# The client's side.

Respond = Callable[[str, Mapping[str, str], bytes, float], Awaitable[Answer]]


class ScriptedTransport:
    """A transport that answers as a test wants, and remembers what was posted."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self.posted: list[tuple[str, dict[str, str], Any, float]] = []

    async def post(
        self, path: str, headers: Mapping[str, str], body: bytes, timeout: float, *, idempotent: bool = False
    ) -> Answer:
        del idempotent
        self.posted.append((path, dict(headers), json.loads(body), timeout))
        return await self._respond(path, headers, body, timeout)


def answering(status: int, headers: Mapping[str, str], body: bytes) -> ScriptedTransport:
    async def respond(*_: object) -> Answer:
        return Answer(status, headers, body)

    return ScriptedTransport(respond)


def raising(error: Exception) -> ScriptedTransport:
    async def respond(*_: object) -> Answer:
        raise error

    return ScriptedTransport(respond)


def client(transport: ScriptedTransport, clock: ManualClock) -> Scales:
    return bind_wire(Scales, transport, Passports(KEY, caller="stove", clock=clock))


async def test_what_the_client_sends(clock: ManualClock) -> None:
    transport = answering(200, {"trenza-outcome": "result"}, b'{"result": {"grams": "1.0", "by": "ana", "new": 1}}')
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with use_context(Context(correlation_id="c-9", principal=ANA, traceparent=trace).with_deadline_in(2)):
        reading = await client(transport, clock).weigh(load=Decimal("1.0"))
    assert reading == Reading(grams=Decimal("1.0"), by="ana")
    [(path, headers, body, timeout)] = transport.posted
    assert (path, body) == ("/_call/scales/weigh", {"load": "1.0", "unit": "g"})
    assert (headers["x-correlation-id"], headers["traceparent"], headers["content-type"]) == ("c-9", trace, "application/json")
    assert headers["authorization"].startswith("Passport ")
    assert 1000 < int(headers["trenza-deadline-ms"]) <= 2000
    assert 1 < timeout <= 2


async def test_a_passport_is_used_again_while_it_lasts_and_for_nobody_else(clock: ManualClock) -> None:
    transport = answering(200, {"trenza-outcome": "result"}, b'{"result": {"grams": "1", "by": "ana"}}')
    scales = client(transport, clock)
    with use_context(Context(correlation_id="c", principal=ANA)):
        await scales.weigh(load=Decimal(1))
        clock.advance(29)
        await scales.weigh(load=Decimal(1))
        clock.advance(2)
        await scales.weigh(load=Decimal(1))
    with use_context(Context(correlation_id="c", principal=Principal(subject="eva"))):
        await scales.weigh(load=Decimal(1))
    first, second, third, fourth = (headers["authorization"] for _, headers, _, _ in transport.posted)
    assert first == second
    assert len({first, third, fourth}) == 3


@pytest.mark.parametrize(
    ("transport", "ran", "reason"),
    [
        (raising(TransportFailed("it refused the connection", sent=False)), False, "it refused the connection"),
        (raising(TransportFailed("the connection broke", sent=True)), None, "the connection broke"),
        (raising(TimeoutError()), None, "it did not answer in time"),
        (raising(ConnectionResetError("internal address")), None, "the connection to it broke"),
        (answering(503, {}, b"<html>bad gateway"), None, "it answered HTTP 503 without an outcome"),
        (answering(200, {}, b'{"result": 1}'), None, "it answered HTTP 200 without an outcome"),
        (answering(404, {"content-type": "application/problem+json"}, b'{"code": "OVERLOADED"}'), None, "without an outcome"),
        (answering(200, {"trenza-outcome": "result"}, b'{"result": 1}'), None, "what its contract does not promise"),
        (answering(200, {"trenza-outcome": "result"}, b"{"), None, "what its contract does not promise"),
        (answering(422, {"trenza-outcome": "refused"}, b"{"), None, "what its contract does not promise"),
        (answering(422, {"trenza-outcome": "refused"}, b'{"code": "NEW"}'), None, "it refused with NEW"),
        (answering(422, {"trenza-outcome": "refused"}, b'{"code": ["OVERLOADED"]}'), None, "it refused with ['"),
        (answering(502, {"trenza-outcome": "broke"}, b"{}"), None, "it broke"),
        (answering(502, {"trenza-outcome": "timed-out"}, b"{}"), None, "it did not answer in time"),
        (answering(404, {"trenza-outcome": "not-run"}, b'{"detail": "no such operation"}'), False, "no such operation"),
        (answering(404, {"trenza-outcome": "not-run"}, b"[]"), False, "it was not reached"),
    ],
)
async def test_whatever_goes_wrong_is_a_failed_call(
    *, transport: ScriptedTransport, ran: bool | None, reason: str, clock: ManualClock
) -> None:
    with pytest.raises(CallFailed) as caught:
        await client(transport, clock).weigh(load=Decimal(1))
    assert caught.value.ran is ran
    assert reason in caught.value.reason
    assert (caught.value.service, caught.value.operation_name) == ("scales", "weigh")
    assert len(transport.posted) == 1


async def test_a_transport_that_hangs_is_ended_at_the_deadline(clock: ManualClock) -> None:
    async def respond(*_: object) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    with use_context(Context(correlation_id="c").with_deadline_in(0.02)), pytest.raises(CallFailed) as caught:
        await client(ScriptedTransport(respond), clock).weigh(load=Decimal(1))
    assert caught.value.ran is None


async def test_an_argument_of_another_type_is_the_callers_mistake_and_not_sent(clock: ManualClock) -> None:
    transport = answering(200, {}, b"")
    with pytest.raises(TypeError, match=r"Scales.weigh\(\): an argument is not what is annotated"):
        await client(transport, clock).weigh(load="1.0")  # type: ignore[arg-type]  # what the test is about
    assert transport.posted == []


async def test_a_result_of_another_type_is_the_callees_failure(kitchen: Kitchen, clock: ManualClock) -> None:
    scales = bind_wire(Scales, AsgiTransport(kitchen.app), Passports(KEY, caller="stove", clock=clock))
    with pytest.raises(CallFailed, match="it broke"):
        await scales.lie()


async def test_the_transport_over_asgi_keeps_the_callers_context_out() -> None:
    seen: list[str | None] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        seen.append(current_context().principal.subject)
        await send({"type": "http.response.start", "status": 204, "headers": [(b"X-Kind", b"Test")]})
        await send({"type": "http.response.body", "body": b""})

    with use_context(Context(correlation_id="c", principal=ANA)):
        answer = await AsgiTransport(app).post("/", {}, b"", 5)
    assert (answer.status, answer.headers["x-kind"]) == (204, "Test")
    assert seen == ["anonymous"]


async def test_the_transport_over_asgi_turns_a_crash_into_a_500_and_ends_in_time() -> None:
    cancelled = asyncio.Event()

    async def crashing(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError("crash")

    async def hanging(_scope: Any, _receive: Any, _send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert (await AsgiTransport(crashing).post("/", {}, b"", 5)).status == 500
    with pytest.raises(TimeoutError):
        await AsgiTransport(hanging).post("/", {}, b"", 0.01)
    assert cancelled.is_set()
