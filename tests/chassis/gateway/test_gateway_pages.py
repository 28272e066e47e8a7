from __future__ import annotations

import asyncio
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Header
from hypothesis import given
from hypothesis import strategies as st
from pydantic import create_model
from tests.chassis.gateway.serving import Script, door, scripted, serving

from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.gateway import GatewayMisdeclared, GatewayRoute
from trenza.chassis.gateway.documents import merged
from trenza.chassis.runtime.application import assemble
from trenza.chassis.runtime.loading import load_services
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.server_process import free_port


def route(name: str, port: int, *more: str) -> GatewayRoute:
    return GatewayRoute(name, (f"/api/{name}", *more), (f"http://127.0.0.1:{port}",))


def service(name: str, *, status: str = "healthy", checks: dict[str, str] | None = None) -> FastAPI:
    """A service of this name, with an ``Item`` of its own."""
    app = FastAPI(title=name)
    item = create_model("Item", **{name: (int, ...)})  # type: ignore[call-overload]  # a model made of a name

    @app.get(f"/api/{name}/item", response_model=item, operation_id="get_item")
    async def get_item(authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
        return {name: len(authorization)}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": status, "checks": checks or {"database": "healthy"}}

    return app


def without_order(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: without_order(value) for key, value in sorted(part.items())}
    if isinstance(part, list):
        return sorted((without_order(value) for value in part), key=repr)
    return part


async def test_the_merged_document_is_that_of_one_process(tmp_path: Path) -> None:
    services = load_services(("images", "photos"))

    def app_of(name: str, *some: Any) -> FastAPI:
        return assemble(some, PlatformSettings(data_dir=tmp_path / name))

    monolith = app_of("all", *services).openapi()
    images, photos = services
    # Only images can stand alone before calls leave the process; the other process hosts both, and owns but its own.
    async with serving(app_of("images", images)) as one, serving(app_of("photos", *services)) as two:
        routes = [
            GatewayRoute(each.name, each.contract.paths, (f"http://127.0.0.1:{port}",))
            for each, port in ((images, one), (photos, two))
        ]
        async with door(tmp_path, *routes) as front:
            found = (await front.client.get("/openapi.json")).json()
    assert without_order(found["paths"]) == without_order(monolith["paths"])
    assert without_order(found["components"]) == without_order(monolith["components"])
    assert found["info"] == monolith["info"]


async def test_colliding_names_are_told_apart_and_point_where_they_should(tmp_path: Path) -> None:
    async with (
        serving(service("boats")) as one,
        serving(service("cars")) as two,
        door(tmp_path, route("boats", one), route("cars", two)) as front,
    ):
        first, second = [(await front.client.get("/openapi.json")).json() for _ in range(2)]
    assert first == second
    schemas = first["components"]["schemas"]
    assert (list(schemas["Item"]["properties"]), list(schemas["cars.Item"]["properties"])) == (["boats"], ["cars"])
    cars, boats = (first["paths"][f"/api/{name}/item"]["get"] for name in ("cars", "boats"))
    assert cars["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/cars.Item"}
    assert (boats["operationId"], cars["operationId"]) == ("get_item", "cars_get_item")
    assert "/health" in first["paths"]


@given(st.permutations(("boats", "cars", "trains")), st.sets(st.sampled_from(("A", "B", "C")), min_size=1))
def test_every_reference_of_a_merged_document_leads_to_its_own_services_component(order: list[str], shared: set[str]) -> None:
    def schema(name: str, letter: str) -> dict[str, Any]:
        others = {other: {"$ref": f"#/components/schemas/{other}"} for other in sorted(shared - {letter})}
        return {"type": "object", "title": name if letter == "A" else letter, "properties": others}

    documents: dict[str, dict[str, Any]] = {
        name: {
            "openapi": "3.1.0",
            "info": {"title": name},
            "paths": {f"/{name}/{letter}": {"get": {"x": {"$ref": f"#/components/schemas/{letter}"}}} for letter in shared},
            "components": {"schemas": {letter: schema(name, letter) for letter in shared}},
        }
        for name in order
    }
    untouched = deepcopy(documents)
    found = merged([GatewayRoute(name, (f"/{name}",), ("http://a",)) for name in order], None, documents)

    def resolved(document: dict[str, Any], part: Any, seen: frozenset[str] = frozenset()) -> Any:
        if isinstance(part, dict) and "$ref" in part:
            name = part["$ref"].rsplit("/", 1)[-1]
            if name in seen:
                return "again"
            return resolved(document, document["components"]["schemas"][name], seen | {name})
        if isinstance(part, dict):
            return {key: resolved(document, value, seen) for key, value in part.items()}
        return part

    assert documents == untouched
    for name in order:
        for path, item in documents[name]["paths"].items():
            assert resolved(found, found["paths"][path]) == resolved(documents[name], item)


async def test_a_service_that_is_down_keeps_its_last_known_document(tmp_path: Path) -> None:
    port = free_port()
    async with serving(service("boats")) as one:
        routes = route("boats", one), route("cars", port)
        async with door(tmp_path, *routes, options={"document_seconds": 0.001}) as front:
            before = (await front.client.get("/openapi.json")).json()
            assert before["info"]["x-unavailable"] == ["cars"]
            assert "/api/cars/item" not in before["paths"]
            async with serving(service("cars"), port):
                during = (await front.client.get("/openapi.json")).json()
            assert "x-unavailable" not in during["info"]
            assert (await front.client.get("/openapi.json")).json() == during


async def test_health_names_what_is_degraded(tmp_path: Path) -> None:
    down = free_port()
    degraded = service("cars", status="degraded", checks={"transport": "unhealthy", "database": "healthy"})
    async with (
        serving(service("boats")) as one,
        serving(degraded) as two,
        door(tmp_path, route("boats", one), route("cars", two), route("trains", down)) as front,
    ):
        token = issue_token(front.key, "op", ("platform:viewer",), timedelta(minutes=5), kind="operator")
        whole = await front.client.get("/health")
        status = (await front.client.get("/health/status", headers={"Authorization": f"Bearer {token}"})).json()
        ready, live = await front.client.get("/health/ready"), await front.client.get("/health/live")
        refused = await front.client.get("/health/status")
    assert whole.status_code == 200
    assert whole.json()["status"] == "degraded"
    expected = {"boats service": "healthy", "cars service": "unhealthy", "trains service": "unhealthy"}
    assert whole.json()["checks"] == expected
    reasons = {check["name"]: check["reason"] for check in status["checks"]}
    assert "degraded: transport" in reasons["cars service"]
    assert "no answer" in reasons["trains service"]
    assert (ready.status_code, live.status_code, refused.status_code) == (200, 200, 401)
    assert whole.headers["x-content-type-options"] == "nosniff"


HOME = {"path": "/api/v1/home", "parts": {"boat": "/api/boats/item", "car": "/api/v1/cars/item?a=b", "train": "/api/trains/item"}}


async def test_a_composition_asks_all_at_once_and_survives_the_failure_of_a_part(tmp_path: Path) -> None:
    together = asyncio.Barrier(2)

    async def meet(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        await together.wait()
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}')
        await writer.drain()

    async with scripted(meet) as boats, scripted(meet) as cars:
        routes = route("boats", boats.port), route("cars", cars.port), route("trains", free_port())
        async with door(tmp_path, *routes, declared={"compositions": [HOME]}) as front:
            token = issue_token(front.key, "ana", (), timedelta(minutes=5))
            headers = {"Authorization": f"Bearer {token}", "X-Correlation-ID": "abc-1"}
            answer = await front.client.get("/api/v1/home", headers=headers)
    found = answer.json()
    assert (answer.status_code, found["boat"], found["car"], found["train"]) == (200, {"a": 1}, {"a": 1}, None)
    assert list(found["problems"]) == ["train"]
    assert (found["problems"]["train"]["code"], found["problems"]["train"]["status"]) == ("SERVICE_UNAVAILABLE", 503)
    for script in (boats, cars):
        assert f"authorization: Bearer {token}".encode() in script.heads[0]
        assert b"x-correlation-id: abc-1" in script.heads[0]
    assert cars.heads[0].startswith(b"GET /api/cars/item?a=b ")


async def test_parts_that_are_slow_refused_or_no_json_are_told(tmp_path: Path) -> None:
    async def odd(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await script.read_head(reader)
        if b"/slow" in head:
            await reader.read()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()

    parts = {"slow": "/api/boats/slow", "text": "/api/boats/{upid}", "missing": "/nowhere"}
    declared = {"compositions": [{"path": "/api/v1/projects/{upid}/overview", "parts": parts, "seconds": 0.3}]}
    async with scripted(odd) as boats, door(tmp_path, route("boats", boats.port), declared=declared) as front:
        found = (await front.client.get("/api/v1/projects/UP-1/overview")).json()
        assert {name: problem["code"] for name, problem in found["problems"].items()} == {
            "slow": "UPSTREAM_TIMEOUT",
            "text": "UPSTREAM_FAILED",
            "missing": "NOT_FOUND",
        }
        assert any(head.startswith(b"GET /api/boats/UP-1 ") for head in boats.heads)
        assert (await front.client.get("/api/v1/projects/a%2Fb/overview")).status_code == 404
        assert (await front.client.get("/api/v1/projects/../overview")).status_code == 404
        shown = (await front.client.get("/openapi.json")).json()["paths"]["/api/v1/projects/{upid}/overview"]["get"]
        assert shown["parameters"][0]["name"] == "upid"


async def test_a_composition_of_this_process_takes_no_hop(tmp_path: Path) -> None:
    declared = {"compositions": [{"path": "/api/v1/home", "parts": {"boat": "/boats/item"}}]}
    async with door(tmp_path, GatewayRoute("boats", ("/api/boats",)), inner=service("boats"), declared=declared) as front:
        assert (await front.client.get("/api/v1/home")).json() == {"boat": {"boats": 0}, "problems": {}}


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"moves": [{"prefix": "/api/boats", "percent": 5}]}, "moves from nowhere"),
        ({"legacy": "http://a", "moves": [{"prefix": "/x", "percent": 5}]}, "no service owns /x"),
        ({"compositions": [{"path": "/a", "parts": {"b": "/a"}}]}, "is a composition"),
    ],
)
def test_declarations_that_do_not_fit_are_refused(tmp_path: Path, declared: dict[str, Any], message: str) -> None:
    async def make() -> None:
        async with door(tmp_path, GatewayRoute("boats", ("/api/boats",), ("http://b",)), declared=declared):
            raise AssertionError("it was made")

    with pytest.raises(GatewayMisdeclared, match=message):
        asyncio.run(make())


async def test_each_request_is_logged_and_counted_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with serving(service("boats")) as one, door(tmp_path, route("boats", one)) as front:
        capfd.readouterr()
        await front.client.get("/api/boats/item")
        lines = [line for line in "".join(capfd.readouterr()).splitlines() if "trenza.access" in line or "request" in line]
        metrics: httpx.Response = await front.client.get("/metrics")
    assert len(lines) == 1
    assert "upstream=boats" in lines[0]
    assert 'endpoint="/api/boats/*"' in metrics.text
