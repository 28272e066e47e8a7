"""Existing FastAPI applications that join as they are."""

from __future__ import annotations

import asyncio
import gzip
import io
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.security import HTTPBasic
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Message, Scope

from trenza import (
    Contract,
    ContractError,
    MountedApp,
    Principal,
    Resources,
    Roles,
    Service,
    current_context,
    operation,
    provided,
    public,
    requires,
)
from trenza.chassis.runtime.wiring import WiringError
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging
from trenza.chassis.testing import RunningServices, run_services

OPEN = public("a test")


class Shop(Contract, service="shop", paths=("/shop",)):
    """A shop."""


class ShopDesk(Shop):
    """What the application may want of the platform."""

    def __init__(self, resources: Resources[Any]) -> None:
        self.resources = resources
        self.log: list[str] = []


class SoldOut(ContractError):
    """There is none."""

    status = 409


class Store(Contract, service="store"):
    @operation(errors=(SoldOut,))
    @abstractmethod
    async def take(self, *, item: str) -> str: ...


class StoreRoom(Store):
    def __init__(self, resources: Resources[Any]) -> None: ...

    async def take(self, *, item: str) -> str:
        if item == "unicorn":
            raise SoldOut("there are no unicorns", field="item")
        if item == "bomb":
            raise RuntimeError("it went off")
        return f"one {item}"


STORE = Service(contract=Store, implementation=StoreRoom)


def shop(app: FastAPI, access: dict[str, Any] | None = None) -> Service:
    return Service(
        contract=Shop,
        implementation=ShopDesk,
        roles=Roles("shop", ("owner", "guest")),
        uses=(Store,),
        mounted=MountedApp(app, access={"*": OPEN} if access is None else access),
    )


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Any]:
    @asynccontextmanager
    async def starting(app: FastAPI, access: dict[str, Any] | None = None) -> AsyncIterator[RunningServices]:
        async with run_services(shop(app, access), STORE, data_dir=tmp_path) as running:
            yield running

    return starting


def small_app() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item_id}")
    def read_item(item_id: int) -> dict[str, Any]:
        return {"item": item_id, "asked by": current_context().principal.subject}

    @app.post("/items")
    async def add_item() -> str:
        return current_context().principal.subject

    return app


async def test_each_route_has_its_guard_and_knows_who_asks(start: Callable[..., Any]) -> None:
    access = {"GET /items/{item_id}": requires("shop:guest"), "POST /items": requires("shop:owner")}
    async with start(small_app(), access) as running:
        anonymous = await running.ask("GET", "/shop/items/1")
        assert anonymous.status_code == 401
        assert anonymous.headers["content-type"] == "application/problem+json"
        assert anonymous.headers["www-authenticate"] == "Bearer"
        assert anonymous.json()["instance"] == "/shop/items/1"
        bad = await running.http.get("/shop/items/1", headers={"Authorization": "Bearer x"})
        assert (bad.status_code, bad.json()["code"]) == (401, "INVALID_TOKEN")
        seen = await running.ask("GET", "/shop/items/1", "shop:guest", subject="ana")
        assert seen.json() == {"item": 1, "asked by": "ana"}
        refused = await running.ask("POST", "/shop/items", "shop:guest")
        assert (refused.status_code, refused.json()["scope"]) == (403, "shop:owner")
        assert (await running.ask("POST", "/shop/items", "shop:owner", subject="eva")).json() == "eva"
        assert (await running.ask("GET", "/shop/items/1", "shop:owner@NORTE")).status_code == 403


async def test_what_is_not_named_falls_under_the_star(start: Callable[..., Any]) -> None:
    async with start(small_app(), {"POST /items": OPEN, "*": requires("shop:guest")}) as running:
        assert (await running.ask("POST", "/shop/items")).json() == "anonymous"
        assert (await running.ask("GET", "/shop/items/1")).status_code == 401


def problems_of(service: Service, tmp_path: Path) -> tuple[str, ...]:
    async def boot() -> None:
        async with run_services(service, STORE, data_dir=tmp_path):
            pass

    with pytest.raises(WiringError) as refusal:
        asyncio.run(boot())
    return refusal.value.problems


def test_the_boot_refuses_routes_that_nobody_has_declared(tmp_path: Path) -> None:
    app = small_app()
    inner = APIRouter(prefix="/inner")
    inner.add_api_route("/deep", lambda: None)
    app.include_router(inner, prefix="/more")
    app.mount("/static", Starlette())

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None: ...

    assert problems_of(shop(app, {"POST /items": OPEN}), tmp_path) == (
        "shop: GET /shop/items/{item_id}: has no permission; add 'GET /items/{item_id}': requires(…) or public(…) to access",
        "shop: GET /shop/more/inner/deep: has no permission; add 'GET /more/inner/deep': requires(…) or public(…) to access",
        "shop: * /shop/static: has no permission; add '* /static': requires(…) or public(…) to access",
        "shop: * /shop/live: has no permission; add '* /live': requires(…) or public(…) to access",
    )


def test_the_boot_refuses_access_that_fits_nothing(tmp_path: Path) -> None:
    app = small_app()
    app.add_api_route("/own", lambda: None, dependencies=[requires("shop:gues")])
    access = {
        "GET /items/{id}": OPEN,
        "PATCH /nothing/like/this": OPEN,
        "POST /items": requires("shop:owners"),
        "GET /own": OPEN,
        "*": OPEN,
    }
    found = problems_of(shop(app, access), tmp_path)
    assert "shop: access['POST /items'] requires 'shop:owners', which no Roles declares" in found[0]
    assert "GET /shop/own: requires 'shop:gues', which no Roles declares" in found[1]
    assert found[2] == "shop: GET /own: carries its permission itself and is in access as well; keep one"
    assert "access names 'GET /items/{id}', which is no route of the application; did you mean 'GET /items/{item_id}'?" in str(
        found
    )
    assert "access names 'PATCH /nothing/like/this', which is no route" in str(found)
    assert len(found) == 5


def test_access_takes_guards_alone() -> None:
    with pytest.raises(TypeError, match=r"access\['\*'\] is a str; write requires"):
        MountedApp(FastAPI(), access={"*": "shop:owner"})
    with pytest.raises(TypeError, match=r"access\['\*'\] is a Depends"):
        MountedApp(FastAPI(), access={"*": Depends(small_app)})
    with pytest.raises(TypeError, match="by_unit=True is for a route that asks for the caller's units itself"):
        MountedApp(FastAPI(), access={"*": requires("shop:owner", by_unit=True)})


class Nowhere(Contract, service="nowhere"): ...


class NowhereDesk(Nowhere):
    def __init__(self, resources: Resources[Any]) -> None: ...


def test_an_application_needs_the_one_path_of_its_contract(tmp_path: Path) -> None:
    service = replace(shop(FastAPI()), contract=Nowhere, implementation=NowhereDesk)
    [problem] = problems_of(service, tmp_path)
    assert (
        problem == 'nowhere mounts an application below no path: write Nowhere(Contract, service="nowhere", paths=("/nowhere",))'
    )


async def test_a_route_that_was_added_after_the_boot_is_refused(start: Callable[..., Any]) -> None:
    app = small_app()
    access = {"GET /items/{item_id}": OPEN, "POST /items": OPEN}
    async with start(app, access) as running:
        app.add_api_route("/late", lambda: "late")
        refused = await running.ask("GET", "/shop/late", "shop:owner")
        assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
    app.router.routes.pop()


async def test_no_middleware_of_the_application_leads_around_the_guard(start: Callable[..., Any]) -> None:
    app = small_app()

    class Rewriting:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] == "/shop/open":
                scope = {**scope, "path": "/shop/items", "raw_path": b"/shop/items", "method": "POST"}
            await self._inner(scope, receive, send)

    app.add_middleware(Rewriting)
    app.add_api_route("/open", lambda: "open")
    access = {"GET /open": OPEN, "*": requires("shop:owner")}
    async with start(app, access) as running:
        assert (await running.ask("GET", "/shop/open")).status_code == 401
        assert (await running.ask("GET", "/shop/open", "shop:owner", subject="eva")).json() == "eva"


async def test_an_application_that_has_served_before_is_guarded_as_well(start: Callable[..., Any]) -> None:
    app = small_app()
    await call(app, {"type": "http", "method": "POST", "path": "/items"})
    for _ in range(2):  # and it can join again
        async with start(app, {"*": requires("shop:owner")}) as running:
            assert (await running.ask("POST", "/shop/items")).status_code == 401
            assert (await running.ask("POST", "/shop/items", "shop:owner")).status_code == 200


async def call(app: Any, scope: dict[str, Any]) -> list[Message]:
    """The answer of an ASGI application to a scope."""
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(0)
        return {"type": "websocket.connect"} if scope["type"] == "websocket" else {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    rest = {"headers": [], "query_string": b"", "root_path": "", "raw_path": scope["path"].encode(), "scheme": "http"}
    await app({**rest, "server": ("test", 80), "client": ("test", 1), **scope}, receive, send)
    return sent


async def test_websockets_and_mounts_are_guarded(start: Callable[..., Any]) -> None:
    app = FastAPI()

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(1000, current_context().principal.subject)

    async def page(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("a page")

    app.mount("/static", Starlette(routes=[Route("/page", page)]))
    access = {"* /live": requires("shop:guest"), "* /static": requires("shop:guest")}
    async with start(app, access) as running:
        assert (await running.ask("GET", "/shop/static/page")).status_code == 401
        assert (await running.ask("GET", "/shop/static/page", "shop:guest")).text == "a page"
        handshake: dict[str, Any] = {"type": "websocket", "path": "/shop/live", "subprotocols": []}
        assert [message["type"] for message in await call(running.app, handshake)] == ["websocket.close"]
        extended = {**handshake, "extensions": {"websocket.http.response": {}}}
        assert (await call(running.app, extended))[0]["status"] == 401
        token = running.token("shop:guest", subject="ana").encode()
        admitted = await call(running.app, {**handshake, "headers": [(b"authorization", b"Bearer " + token)]})
        assert [message["type"] for message in admitted] == ["websocket.accept", "websocket.close"]
        assert admitted[1]["reason"] == "ana"


async def test_the_lifespan_runs_and_gives_its_state(start: Callable[..., Any]) -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, str]]:
        log.append("opened")
        yield {"drawer": "full"}
        log.append("closed")

    app = FastAPI(lifespan=lifespan)

    @app.get("/drawer")
    async def drawer(request: Request) -> str:
        found: str = request.state.drawer
        return found

    async with start(app) as running:
        assert log == ["opened"]
        assert (await running.ask("GET", "/shop/drawer")).json() == "full"
    assert log == ["opened", "closed"]


async def test_a_lifespan_that_fails_says_whose_it_is(start: Callable[..., Any]) -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if app.title == "Diskless":
            raise RuntimeError("no disk")
        yield

    with pytest.raises(RuntimeError, match="no disk") as failure:
        async with start(FastAPI(title="Diskless", lifespan=lifespan)):
            pass
    assert failure.value.__notes__ == ["shop: the lifespan of the application mounted at /shop did not start"]


class Broke(Exception):
    """Something that the application knows."""


def failing_app() -> FastAPI:
    app = FastAPI()

    @app.exception_handler(Broke)
    async def say(_request: Request, _error: Broke) -> JSONResponse:
        return JSONResponse({"own": "words"}, status_code=418)

    @app.get("/known")
    async def known() -> None:
        raise Broke

    @app.get("/http")
    async def http() -> None:
        raise HTTPException(402, {"price": 3})

    @app.get("/unknown")
    async def unknown() -> None:
        raise RuntimeError("a fault of the application")

    @app.get("/take/{item}")
    async def take(item: str, desk: Annotated[ShopDesk, provided(ShopDesk)]) -> str:
        return await desk.resources.call(Store).take(item=item)

    return app


async def test_its_errors_are_left_alone_and_those_of_contracts_are_told(start: Callable[..., Any]) -> None:
    async with start(failing_app()) as running:

        async def told(path: str) -> tuple[int, Any]:
            answer = await running.ask("GET", f"/shop{path}")
            problem = answer.headers["content-type"] == "application/problem+json"
            return answer.status_code, answer.json()["code"] if problem else answer.json()

        assert await told("/known") == (418, {"own": "words"})
        assert await told("/http") == (402, {"detail": {"price": 3}})
        assert await told("/nowhere") == (404, {"detail": "Not Found"})
        assert (await running.ask("POST", "/shop/known")).json() == {"detail": "Method Not Allowed"}
        fault = await running.ask("GET", "/shop/unknown")
        assert (fault.status_code, fault.text) == (500, "Internal Server Error")
        assert await told("/take/pony") == (200, "one pony")
        assert await told("/take/unicorn") == (409, "SOLD_OUT")
        assert await told("/take/bomb") == (502, "CALL_FAILED")


async def test_a_fault_of_the_application_is_logged_once(start: Callable[..., Any]) -> None:
    log = io.StringIO()
    configure_logging(PlatformSettings(), stream=log)
    async with start(failing_app()) as running:
        await running.ask("GET", "/shop/unknown")
    assert log.getvalue().count("RuntimeError: a fault of the application") == 1


async def test_routes_may_carry_their_permission_themselves(start: Callable[..., Any]) -> None:
    app = FastAPI()

    @app.get("/mine")
    async def mine(caller: Annotated[Principal, requires("shop:guest")]) -> str:
        return caller.subject

    async with start(app, {}) as running:
        refused = await running.ask("GET", "/shop/mine")
        assert (refused.status_code, refused.json()["code"]) == (401, "UNAUTHENTICATED")
        assert (await running.ask("GET", "/shop/mine", "shop:owner", subject="ana")).json() == "ana"


async def test_routers_of_the_service_come_before_the_application(tmp_path: Path) -> None:
    router = APIRouter()
    router.add_api_route("/shop/desk", lambda: "the desk", dependencies=[OPEN])
    service = replace(shop(small_app()), router=router)
    async with run_services(service, STORE, data_dir=tmp_path) as running:
        assert (await running.ask("GET", "/shop/desk")).json() == "the desk"
        assert (await running.ask("POST", "/shop/items")).status_code == 200


class Item(BaseModel):
    name: str


def documented_app() -> FastAPI:
    app = FastAPI()

    @app.get("/items", tags=["things"])
    async def items() -> list[Item]:
        return []

    @app.put("/items/{name}", dependencies=[Depends(HTTPBasic())])
    async def put(name: str, item: Item) -> Item:
        return item.model_copy(update={"name": name})

    return app


async def test_its_document_becomes_part_of_the_platforms(start: Callable[..., Any]) -> None:
    async with start(documented_app(), {"GET /items": OPEN, "*": requires("shop:guest")}) as running:
        document = (await running.ask("GET", "/openapi.json")).json()
        own = (await running.ask("GET", "/shop/openapi.json")).json()
        page = await running.ask("GET", "/shop/docs")
    read, write = document["paths"]["/shop/items"]["get"], document["paths"]["/shop/items/{name}"]["put"]
    assert (read["tags"], read["operationId"], "security" in read) == (["things"], "shop_items_items_get", False)
    assert write["tags"] == ["shop"]
    assert write["security"] == [{"Bearer": [], "shop.HTTPBasic": []}]
    assert {"401", "403"} <= write["responses"].keys()
    assert document["components"]["securitySchemes"].keys() >= {"Bearer", "shop.HTTPBasic"}
    assert write["requestBody"]["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/shop.Item"
    assert document["components"]["schemas"]["shop.Item"]["properties"].keys() == {"name"}
    assert own["paths"].keys() == {"/items", "/items/{name}"}
    assert own["servers"] == [{"url": "/shop"}]
    assert page.status_code == 200
    assert "cdn.jsdelivr.net" in page.headers["content-security-policy"]


async def test_links_and_metrics_know_the_prefix(start: Callable[..., Any]) -> None:
    app = small_app()

    @app.get("/link")
    async def link(request: Request) -> str:
        return str(request.url_for("read_item", item_id=3))

    @app.get("/page")
    async def page() -> Response:
        return HTMLResponse("<p>", headers={"Content-Security-Policy": "default-src 'self'"})

    async with start(app) as running:
        assert (await running.ask("GET", "/shop/link")).json() == "http://test/shop/items/3"
        assert (await running.ask("GET", "/shop/items/3")).status_code == 200
        shown = await running.ask("GET", "/shop/page")
        assert shown.headers["content-security-policy"] == "default-src 'self'"
        assert shown.headers["x-content-type-options"] == "nosniff"
        metrics = (await running.ask("GET", "/metrics")).text
    assert 'endpoint="/shop/items/{item_id}"' in metrics
    assert 'endpoint="/items/{item_id}"' not in metrics


async def test_it_may_decode_bodies_itself(start: Callable[..., Any]) -> None:
    app = FastAPI()

    @app.post("/unpacked")
    async def unpacked(request: Request) -> str:
        return gzip.decompress(await request.body()).decode()

    async with start(app) as running:
        packed = {"content": gzip.compress(b"bricks"), "headers": {"Content-Encoding": "gzip"}}
        assert (await running.ask("POST", "/shop/unpacked", **packed)).json() == "bricks"


def redirecting_app() -> FastAPI:
    app = FastAPI()

    @app.get("/items/")
    def items() -> str:
        return "all"

    @app.get("/go")
    def go(to: str) -> Response:
        return Response(status_code=302, headers={"Location": to})

    @app.get("/named")
    def named(request: Request) -> Response:
        return RedirectResponse(request.url_for("items"), 303)

    @app.post("/made", status_code=201)
    def made(request: Request, response: Response) -> None:
        response.headers["Location"] = str(request.url_for("items"))

    return app


@pytest.mark.parametrize("host", ["test", "evil.example", "EVIL.example:8080", "[::1]:80", "evil.example/x?", "ev il", ""])
async def test_its_redirects_stay_with_the_host_that_was_asked(start: Callable[..., Any], host: str) -> None:
    async with start(redirecting_app()) as running:
        for path, leads in (
            ("/shop/items", "/shop/items/"),
            ("/shop/items?page=2", "/shop/items/?page=2"),
            ("/shop/named", "/shop/items/"),
        ):
            answer = await running.ask("GET", path, headers={"Host": host})
            assert 300 <= answer.status_code < 400
            assert answer.headers["location"] == leads, path


@pytest.mark.parametrize(
    ("to", "leads"),
    [("http://test", "/"), ("http://test?a", "/?a"), ("http://test//other", "/other"), ("http://test/\\other", "/other")],
)
async def test_a_redirect_made_relative_names_no_other_host(start: Callable[..., Any], to: str, leads: str) -> None:
    async with start(redirecting_app()) as running:
        assert (await running.ask("GET", "/shop/go", params={"to": to})).headers["location"] == leads


@pytest.mark.parametrize("to", ["https://other.example/a", "/shop/items/", "items/", "http://test.example/", "//other.example/"])
async def test_redirects_that_the_application_writes_itself_are_its_own(start: Callable[..., Any], to: str) -> None:
    async with start(redirecting_app()) as running:
        assert (await running.ask("GET", "/shop/go", params={"to": to})).headers["location"] == to


async def test_what_is_no_redirect_keeps_its_location(start: Callable[..., Any]) -> None:
    async with start(redirecting_app()) as running:
        assert (await running.ask("POST", "/shop/made")).headers["location"] == "http://test/shop/items/"


async def test_pages_that_the_application_serves_last_are_guarded(start: Callable[..., Any], tmp_path: Path) -> None:
    app = app_with_front(tmp_path)
    async with start(app, {"POST /items": OPEN, "*": requires("shop:guest")}) as running:
        assert (await running.ask("GET", "/shop/index.html")).status_code == 401
        assert (await running.ask("GET", "/shop/index.html", "shop:guest")).text == "the front"


def test_the_boot_sees_pages_that_the_application_serves_last(tmp_path: Path) -> None:
    access = {"GET /items/{item_id}": OPEN, "POST /items": OPEN}
    [problem] = problems_of(shop(app_with_front(tmp_path), access), tmp_path / "data")
    assert problem == "shop: app.frontend() at /shop: has no permission; add '*': requires(…) or public(…) to access"


def app_with_front(folder: Path) -> FastAPI:
    (folder / "front").mkdir()
    (folder / "front" / "index.html").write_text("the front")
    app = small_app()
    app.frontend("/", directory=str(folder / "front"))
    return app
