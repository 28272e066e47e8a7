from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.types import ASGIApp, Receive, Scope, Send

from trenza import Contract, MountedApp, Roles, Service
from trenza.chassis.auth.permissions import public, requires
from trenza.chassis.blobs.signatures import BLOB_PATH
from trenza.chassis.context import Principal
from trenza.chassis.http.middleware import install_middleware
from trenza.chassis.http.operations import operations_router
from trenza.chassis.http.rate_limits import check_limits, limited
from trenza.chassis.runtime.application import assemble
from trenza.chassis.runtime.wiring import WiringError
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.health import Health
from trenza.chassis.telemetry.metrics import registry
from trenza.chassis.testing import run_services
from trenza.chassis.testing.clock import ManualClock

if TYPE_CHECKING:
    from tests.chassis.http.rate_limits.conftest import Site, SiteMaker

OPEN = public("the test asks")


def refused(scope: str, route: str) -> float:
    return registry().get_sample_value("trenza_rate_limited_total", {"scope": scope, "route": route}) or 0


async def test_an_address_without_a_token_may_ask_a_hundred_times_a_minute(make_site: SiteMaker) -> None:
    site = make_site()
    assert await site.passes(120) == 100
    assert await site.passes(1, address="192.0.2.2") == 1, "another address has its own"


async def test_the_window_moves_and_what_was_refused_did_not_count(make_site: SiteMaker, clock: ManualClock) -> None:
    site = make_site(rate_limit_anonymous="4/minute")
    assert await site.passes(2) == 2
    clock.advance(40)
    assert await site.passes(50) == 2
    clock.advance(20)
    assert await site.passes(50) == 2, "the first two have left the window"
    clock.advance(39)
    assert await site.passes(50) == 0
    clock.advance(1)
    assert await site.passes(50) == 2


async def test_a_subject_counts_by_its_own_whatever_its_tokens_and_addresses(make_site: SiteMaker) -> None:
    site = make_site(rate_limit_anonymous="1/minute", rate_limit_authenticated="5/minute")
    ana = [await site.ask(address=f"192.0.2.{last}", headers=site.token("ana")) for last in range(1, 8)]
    assert ana == [200] * 5 + [429] * 2
    assert await site.ask(headers=site.token("berta")) == 200
    assert await site.ask() == 200, "the address itself has not been counted"


async def test_tokens_that_are_not_valid_count_by_address(make_site: SiteMaker) -> None:
    site = make_site(rate_limit_anonymous="3/minute", rate_limit_authenticated="100/minute")
    subjects = [await site.ask(headers=site.token(f"guess {n}", trusted=False)) for n in range(3)]
    assert subjects == [200] * 3, "the route does not look at tokens"
    for headers in (site.token("guess", trusted=False), {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YQ=="}):
        assert await site.ask(headers=headers) == 429
    both = [*site.token("ana").items(), *site.token("ana").items()]
    assert (await site.client().get("/ask", headers=both)).status_code == 429, "two tokens are none"
    assert await site.ask(headers=site.token("ana")) == 200


async def test_refused_tokens_count_so_that_they_cannot_be_tried_for_ever(make_site: SiteMaker) -> None:
    site = make_site(rate_limit_anonymous="3/minute")

    @site.app.get("/closed")
    async def closed(principal: Annotated[Principal, requires("site:viewer")]) -> str:
        return principal.subject

    tried = [await site.ask("/closed", headers=site.token("ana", trusted=False)) for _ in range(5)]
    assert tried == [401, 401, 401, 429, 429]
    assert (await site.client().get("/closed", headers=site.token("ana"))).json() == "ana"


@pytest.mark.parametrize("language", ["en", "es"])
async def test_a_refusal_names_limit_window_and_remedy(make_site: SiteMaker, language: str) -> None:
    site = make_site(rate_limit_anonymous="1/minute", rate_limit_authenticated="1/minute")
    before = refused("anonymous", "*")
    await site.ask()
    site.clock.advance(17.5)
    answer = await site.client().get("/ask", headers={"Accept-Language": language, "X-Correlation-ID": "mine"})
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "43"
    assert answer.headers["x-correlation-id"] == "mine"
    assert answer.headers["x-content-type-options"] == "nosniff"
    document = answer.json()
    remedies = {
        "en": "wait for the seconds in Retry-After, or send a valid token, for which the limit is higher",
        "es": "espere los segundos que indica Retry-After, o envíe un token válido, cuyo límite es mayor",
    }
    details = {
        "en": "The limit is 1 requests in 60 s; there is room again in 43 s.",
        "es": "El límite es de 1 solicitudes en 60 s; podrá enviar otra dentro de 43 s.",
    }
    assert document == {
        "type": "urn:trenza:problem:rate-limited",
        "title": {"en": "Too many requests", "es": "Demasiadas solicitudes"}[language],
        "status": 429,
        "detail": details[language],
        "instance": "/ask",
        "code": "RATE_LIMITED",
        "correlation_id": "mine",
        "field": "Authorization",
        "limit": 1,
        "window_seconds": 60,
        "retry_after": 43,
        "remedy": remedies[language],
    }
    assert refused("anonymous", "*") == before + 1
    await site.ask(headers=site.token("ana"))
    known = (await site.client().get("/ask", headers=site.token("ana") | {"Accept-Language": language})).json()
    assert "field" not in known
    assert "token" not in known["remedy"], "a token would be no remedy for who has one"


async def test_answers_tell_how_much_is_left(make_site: SiteMaker, clock: ManualClock) -> None:
    site = make_site(rate_limit_authenticated="3/second, 10/minute")

    @site.app.get("/narrow", dependencies=[OPEN, limited("2/hour")])
    async def narrow() -> None: ...

    first = (await site.client().get("/ask", headers=site.token("ana"))).headers
    assert first["ratelimit-policy"] == '"authenticated 1s";q=3;w=1, "authenticated 60s";q=10;w=60'
    assert first["ratelimit"] == '"authenticated 1s";r=2;t=1, "authenticated 60s";r=9;t=60'
    assert (first["ratelimit-limit"], first["ratelimit-remaining"], first["ratelimit-reset"]) == ("3", "2", "1")
    clock.advance(0.5)
    second = (await site.client().get("/narrow", headers=site.token("ana"))).headers
    assert second["ratelimit"] == '"authenticated 1s";r=1;t=1, "authenticated 60s";r=8;t=60, "GET /narrow";r=1;t=3600'
    assert (second["ratelimit-limit"], second["ratelimit-remaining"], second["ratelimit-reset"]) == ("2", "1", "3600")
    third = await site.client().get("/nothing", headers=site.token("ana"))
    assert third.status_code == 404
    assert third.headers["ratelimit-remaining"] == "0", "errors tell it as well"
    assert third.headers["ratelimit-limit"] == "3"


async def test_pages_of_other_origins_may_read_it(make_site: SiteMaker) -> None:
    site = make_site(rate_limit_anonymous="1/minute", cors_origins=("https://app.example",))
    answers = [await site.client().get("/ask", headers={"Origin": "https://app.example"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    for answer in answers:
        exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert {"RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} <= exposed
        assert "Retry-After" in exposed
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    asked = [(await site.client().options("/ask", headers=preflight)).status_code for _ in range(5)]
    assert asked == [200] * 5, "a browser's own questions do not count"


async def test_probes_scrapes_and_internal_calls_do_not_count(make_site: SiteMaker) -> None:
    site = make_site(rate_limit_anonymous="1/minute")
    site.app.include_router(operations_router(Health(), PlatformSettings()))

    @site.app.post("/_call/{service}/{operation}", dependencies=[OPEN])
    async def call(service: str, operation: str) -> str:
        return service + operation

    assert await site.ask() == 200
    assert await site.ask() == 429
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):
        answer = await site.client().get(path)
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("ratelimit")]
    assert (await site.client().post("/_call/photos/find")).status_code == 200
    for path in ("/healthy", "/health/", "/health/live/x", "/_call", "/metrics/x", "//health"):
        assert await site.ask(path) == 429, path


async def test_signed_links_count_apart_and_at_the_rate_of_tokens(make_site: SiteMaker) -> None:
    site = make_site(rate_limit_anonymous="2/minute", rate_limit_authenticated="5/minute")

    @site.app.get(f"{BLOB_PATH}{{key:path}}", dependencies=[OPEN])
    async def blob(key: str) -> str:
        return key

    assert await site.passes(7, path=f"{BLOB_PATH}photos/1.jpg") == 5
    assert await site.passes(3) == 2


async def test_named_subjects_are_never_counted(make_site: SiteMaker) -> None:
    site = make_site(rate_limit_anonymous="1/minute", rate_limit_authenticated="1/minute", rate_limit_exempt=("load-test",))

    @site.app.get("/narrow", dependencies=[OPEN, limited("1/minute", by="address")])
    async def narrow() -> None: ...

    assert await site.passes(5, headers=site.token("load-test")) == 5
    assert await site.passes(5, path="/narrow", headers=site.token("load-test")) == 5
    assert await site.passes(5, headers=site.token("load-test", trusted=False)) == 1, "the name alone is not enough"


async def test_limits_can_be_off_all_of_them_or_one(make_site: SiteMaker) -> None:
    for site, expected in (
        (make_site(rate_limit_enabled=False, rate_limit_anonymous="1/minute"), (5, 5)),
        (make_site(rate_limit_anonymous="off"), (5, 1)),
        (make_site(at_door=False, rate_limit_anonymous="1/minute"), (5, 1)),
    ):

        @site.app.get("/narrow", dependencies=[OPEN, limited("1/minute")])
        async def narrow() -> None: ...

        assert (await site.passes(5), await site.passes(5, path="/narrow")) == expected


async def test_a_route_has_a_limit_by_address_whoever_asks(make_site: SiteMaker) -> None:
    site = make_site()

    @site.app.post("/login", dependencies=[OPEN, limited("2/minute", by="address")])
    async def login() -> None: ...

    before = refused("POST /login", "/login")
    tokens: list[dict[str, str]] = [{}, site.token("ana"), site.token("berta"), {}]
    tried = [(await site.client().post("/login", headers=headers)).status_code for headers in tokens]
    assert tried == [200, 200, 429, 429]
    assert (await site.client("192.0.2.2").post("/login")).status_code == 200
    assert refused("POST /login", "/login") == before + 2


async def test_a_route_has_a_limit_by_caller(make_site: SiteMaker) -> None:
    site = make_site()

    @site.app.get("/export/{number}", dependencies=[OPEN, limited("2/minute")])
    async def export(number: int) -> int:
        return number

    for headers in (site.token("ana"), site.token("berta"), {}):
        tried = [await site.ask(f"/export/{number}", headers=headers) for number in range(3)]
        assert tried == [200, 200, 429], "all paths of the route count together"


async def test_what_a_route_refuses_does_not_count_at_the_door_either(make_site: SiteMaker) -> None:
    site = make_site(rate_limit_anonymous="5/minute")

    @site.app.get("/narrow", dependencies=[OPEN, limited("1/minute")])
    async def narrow() -> None: ...

    assert await site.passes(20, path="/narrow") == 1
    refusal = await site.client().get("/narrow")
    assert refusal.headers["ratelimit-policy"] == '"GET /narrow";q=1;w=60'
    assert refusal.json()["remedy"].startswith("wait"), "a token would be no remedy here"
    assert await site.passes(20) == 4


async def test_routes_of_a_router_count_apart_and_those_of_a_bucket_together(make_site: SiteMaker) -> None:
    site = make_site()
    router = APIRouter(prefix="/apart", dependencies=[limited("1/minute")])
    shared = APIRouter(dependencies=[limited("3/minute", bucket="writes")])

    async def nothing() -> None: ...

    for path in ("/a", "/b"):
        router.add_api_route(path, nothing, methods=["GET"], dependencies=[OPEN])
        shared.add_api_route(path, nothing, methods=["GET"], dependencies=[OPEN])
    site.app.include_router(router)
    site.app.include_router(shared, prefix="/first")
    site.app.include_router(shared, prefix="/second")
    assert [await site.ask(path) for path in ("/apart/a", "/apart/b", "/apart/a")] == [200, 200, 429]
    places = ("/first/a", "/second/a", "/first/b", "/second/b")
    answers = [await site.client().get(path) for path in places]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"anonymous";q=100;w=60, "writes";q=3;w=60'
    assert not check_limits(site.app)


async def test_routes_of_one_path_in_several_places_count_apart(make_site: SiteMaker) -> None:
    site = make_site()
    for prefix in ("/one", "/two"):
        router = APIRouter()

        @router.get("/same", dependencies=[OPEN, limited("1/minute")])
        async def same() -> None: ...

        @router.post("/same", dependencies=[OPEN, limited("1/minute")])
        async def write() -> None: ...

        site.app.include_router(router, prefix=prefix)
    for path in ("/one/same", "/two/same"):
        assert [(await site.client().request(method, path)).status_code for method in ("GET", "POST", "GET")] == [200, 200, 429]


async def test_a_websocket_counts_by_its_handshake(make_site: SiteMaker) -> None:
    site = make_site(rate_limit_anonymous="1/minute")

    @site.app.websocket("/socket", dependencies=[OPEN])
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    assert [message["type"] for message in await shake_hands(site)] == ["websocket.accept", "websocket.close"]
    (closed,) = await shake_hands(site)
    assert (closed["type"], closed["code"]) == ("websocket.close", 1008)
    start, body = await shake_hands(site, extensions={"websocket.http.response": {}})
    assert start["status"] == 429
    assert b"RATE_LIMITED" in body["body"]


async def shake_hands(site: Site, **more: Any) -> list[dict[str, Any]]:
    """What a server would be told after the handshake of a client at 192.0.2.1."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/socket", "headers": [], "query_string": b"", "subprotocols": []}
    await site.app({**scope, "client": ("192.0.2.1", 40_000), **more}, receive, send)
    return sent


async def test_an_upload_that_is_refused_is_not_read(make_site: SiteMaker) -> None:
    site = make_site(rate_limit_anonymous="1/minute")
    await site.ask()
    read = 0

    async def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 65_536

    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(body), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    body = endless()
    headers = [(b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "method": "POST", "path": "/ask", "headers": headers, "query_string": b"", "http_version": "1.1"}
    await site.app({**scope, "client": ("192.0.2.1", 40_000)}, receive, send)
    assert sent[0]["status"] == 429
    assert (b"connection", b"close") in sent[0]["headers"]
    assert read == 0


async def test_the_boot_finds_limits_that_make_no_sense(make_site: SiteMaker) -> None:
    app = make_site().app

    async def nothing() -> None: ...

    def add(path: str, *limits: Any) -> None:
        app.add_api_route(path, nothing, methods=["GET"], dependencies=[OPEN, *limits])

    add("/fine", limited("5/minute", by="address"), limited("100/minute"))
    assert not check_limits(app)
    add("/health/live", limited("1/minute"))
    add("/twice", limited("5/minute"), limited("100/hour"))
    add("/one", limited("5/minute", bucket="shared"))
    add("/other", limited("6/minute", bucket="shared"))
    assert check_limits(app) == (
        "GET /health/live: is never counted, so that limited(…) has no effect; remove it",
        'GET /twice: has several limits by caller; write one limited("100/hour, 5/minute", …)',
        (
            "GET /other: the bucket 'shared' is 5/minute by caller at GET /one and 6/minute by caller here; "
            "make them equal, or name two buckets"
        ),
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"rate": "often"}, "such as 100/minute"),
        ({"rate": "5/minute", "by": "shoe size"}, "write one of caller, address"),
        ({"rate": "5/minute", "bucket": ""}, "write a short name"),
        ({"rate": "5/minute", "bucket": 'a"b'}, "write a short name"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_where_it_is_written(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        limited(**arguments)


async def test_a_limit_without_its_platform_is_not_passed_over() -> None:
    app = FastAPI()
    install_middleware(app, PlatformSettings())

    @app.get("/narrow", dependencies=[limited("1/minute")])
    async def narrow() -> None: ...

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/narrow")).status_code == 500


class Shop(Contract, service="shop", paths=("/shop",)):
    """A shop."""


def test_the_platform_does_not_start_with_limits_that_make_no_sense(tmp_path: Path) -> None:
    router = APIRouter()

    @router.get("/shop/goods", dependencies=[OPEN, limited("5/minute"), limited("6/hour")])
    async def goods() -> None: ...

    shop = Service(contract=Shop, implementation=lambda _resources: Shop(), router=router)
    with pytest.raises(WiringError, match=r"GET /shop/goods: has several limits by caller; write one limited"):
        assemble((shop,), PlatformSettings(data_dir=tmp_path))


async def test_routes_of_a_mounted_application_may_have_limits_as_well(tmp_path: Path) -> None:
    inner = FastAPI()

    @inner.get("/goods", dependencies=[OPEN, limited("2/minute")])
    async def goods() -> None: ...

    shop = Service(contract=Shop, implementation=lambda _resources: Shop(), mounted=MountedApp(inner, access={"*": OPEN}))
    async with run_services(shop, data_dir=tmp_path) as running:
        answers = [await running.ask("GET", "/shop/goods") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["ratelimit-policy"] == '"GET /shop/goods";q=2;w=60'


async def test_whom_the_door_has_counted_is_not_taken_for_whoever_comes_in_with_another_token(tmp_path: Path) -> None:
    inner = FastAPI()

    @inner.get("/me")
    async def me(principal: Annotated[Principal, requires("shop:viewer")]) -> str:
        return principal.subject

    class Exchange:
        """A middleware of the application, such as one that turns its old sessions into tokens."""

        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                scope["headers"] = [(b"authorization", f"Bearer {token}".encode())]
            await self.app(scope, receive, send)

    inner.add_middleware(Exchange)
    shop = Service(
        contract=Shop,
        implementation=lambda _resources: Shop(),
        mounted=MountedApp(inner, access={}),
        roles=Roles("shop", ("viewer",)),
    )
    async with run_services(shop, data_dir=tmp_path) as running:
        token = running.token("shop:viewer", subject="berta")
        assert (await running.ask("GET", "/shop/me", "shop:viewer", subject="ana")).json() == "berta"
