"""JSON bodies of services by anybody, served as the platform serves them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Query, Request, WebSocket

from trenza import Contract, NoSettings, Service, public
from trenza.chassis.testing import RunningServices, run_services

router = APIRouter(dependencies=[public("a test")])


@router.post("/echo")
async def echo(body: dict[str, Any]) -> dict[str, Any]:
    return body


@router.post("/stream")
async def stream(request: Request) -> int:
    return len([chunk async for chunk in request.stream() if chunk])


@router.get("/echo/{name}")
async def named(name: str, text: str = "", several: Annotated[list[str], Query()] = []) -> dict[str, Any]:  # noqa: B006 - only read
    return {"name": name, "text": text, "several": several}


@router.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


class Echo(Contract, service="echo", paths=("/echo", "/stream", "/socket")):
    """Says what it is told."""


SERVICE = Service(contract=Echo, implementation=lambda _resources: Echo(), settings=NoSettings, router=router)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningServices]:
    async with run_services(SERVICE, data_dir=tmp_path) as services:
        yield services


async def post(running: RunningServices, body: bytes, **headers: str) -> Any:
    return await running.http.post("/echo", content=body, headers={"Content-Type": "application/json", **headers})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (rb'{"name": "a \ud800 b"}', "name"),
        (rb'{"name": "\udfff"}', "name"),
        (rb'{"name": "\ude00\ud83d"}', "name"),
        (b'{"name": "\xed\xa0\x80"}', "name"),
        (json.dumps({"name": "\ud800"}, ensure_ascii=False).encode("utf-16", "surrogatepass"), "name"),
        (rb'{"items": ["a", {"b": "\uD9ab"}]}', "items.1.b"),
        (rb'{"a": {"\ud800": 1}}', "a"),
        (rb'{"\ud800": 1}', "body"),
    ],
)
async def test_half_a_character_is_refused_by_name(running: RunningServices, body: bytes, field: str) -> None:
    answer = await post(running, body)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (422, "INVALID_REQUEST", field)
    assert "surrogate" in problem["errors"][0]["message"]
    spanish = (await post(running, body, **{"Accept-Language": "es"})).json()
    assert "sustituto" in spanish["errors"][0]["message"]


async def test_every_half_character_is_named_and_a_flood_of_them_is_not(running: RunningServices) -> None:
    problem = (await post(running, rb'{"a": "\ud800", "b": "fine", "c": "\ud800"}')).json()
    assert [error["field"] for error in problem["errors"]] == ["a", "c"]
    flood = b'{"a": [' + b",".join([rb'"\ud800"'] * 1000) + b"]}"
    assert len((await post(running, flood)).json()["errors"]) == 20


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (rb'{"name": "a\u0000b"}', "name"),
        (rb'{"items": ["a", {"b": "\u0000"}]}', "items.1.b"),
        (rb'{"a": {"\u0000": 1}}', "a"),
        (rb'{"\u0000": 1}', "body"),
    ],
)
async def test_nul_in_a_body_is_refused_by_name(running: RunningServices, body: bytes, field: str) -> None:
    answer = await post(running, body)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["code"], problem["field"]) == (422, "INVALID_REQUEST", field)
    assert problem["errors"][0]["in"] == "body"
    assert "NUL" in problem["errors"][0]["message"]
    spanish = (await post(running, body, **{"Accept-Language": "es"})).json()
    assert "Contiene el carácter NUL" in spanish["errors"][0]["message"]


@pytest.mark.parametrize(
    ("path", "place", "field"),
    [
        ("/echo/a?text=x%00", "query", "text"),
        ("/echo/a?several=x&several=%00", "query", "several"),
        ("/echo/a?unknown=%00", "query", "unknown"),
        ("/echo/a?%00=x", "query", "query"),
        ("/echo/a%00b?text=x", "path", "name"),
    ],
)
async def test_nul_in_an_address_is_refused_by_name(running: RunningServices, path: str, place: str, field: str) -> None:
    answer = await running.http.get(path)
    error = answer.json()["errors"][0]
    assert (answer.status_code, error["in"], error["field"]) == (422, place, field)
    assert (await running.http.get("/echo/a?text=%2500&several=b&several=c")).json() == {
        "name": "a", "text": "%00", "several": ["b", "c"],
    }  # fmt: skip


@pytest.mark.parametrize("text", [r"\ud83d\ude00", "\N{GRINNING FACE}", r"\\ud800", r"\\u0000", r"\u0001", "ñandú", ""])
async def test_whole_characters_pass(running: RunningServices, text: str) -> None:
    body = f'{{"name": ["{text}"], "{text}": null}}'
    answer = await post(running, body.encode())
    assert answer.json() == json.loads(body)


async def test_a_body_that_the_route_reads_by_itself_is_left_to_it(running: RunningServices) -> None:
    answer = await running.http.post("/stream", content=rb'"\ud800"', headers={"Content-Type": "application/json"})
    assert answer.json() == 1


async def test_a_socket_opens(running: RunningServices) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/socket", "headers": [], "query_string": b"", "subprotocols": []}
    await running.app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
