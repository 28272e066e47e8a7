from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from tests.chassis.gateway.serving import door, raw, scripted, serving

from trenza.chassis.gateway import GatewayRoute
from trenza.chassis.gateway.routes import AmbiguousPath, Routes, spellings
from trenza.chassis.runtime.reference import reference_router

PHOTOS = GatewayRoute("photos", ("/api/photos", "/api/projects", "/"), ("http://127.0.0.1:1",))
IMAGES = GatewayRoute("images", ("/api/v1/images",), ("http://127.0.0.1:2",))
DIARY = GatewayRoute("diary", ("/diary",), ("http://127.0.0.1:3",))
ROUTES = Routes((PHOTOS, IMAGES, DIARY))

segment = st.text("abcdefghijklmnopqrstuvwxyz0123456789_~-", min_size=1, max_size=8)
below = st.lists(segment, max_size=4).map(lambda parts: "".join(f"/{part}" for part in parts))


def encodings(character: str) -> st.SearchStrategy[str]:
    """A character as it is, or percent-encoded once or twice, in either case of the digits."""
    once = f"%{ord(character):02x}"
    return st.sampled_from((character, once, once.upper(), once.replace("%", "%25")))


def spelled(path: str) -> st.SearchStrategy[str]:
    """A path with any of its characters encoded, and slashes and dots where readers drop them."""
    noise = st.sampled_from(("", "", "", "/", "/.", "/x/.."))
    parts = [noise if character == "/" else st.just("") for character in path]
    pairs = [st.tuples(part, encodings(character)) for part, character in zip(parts, path, strict=True)]
    return st.tuples(*pairs).map(lambda found: "/" + "".join(a + b for a, b in found).lstrip("/"))


@given(prefix=st.sampled_from(("/api/photos", "/api/projects", "/api/v1/images", "/diary")), rest=below)
def test_every_spelling_of_a_prefix_leads_to_the_same_owner(prefix: str, rest: str) -> None:
    owner = ROUTES.find(f"{prefix}{rest}".encode())
    assert owner is not None
    for asked in spellings(prefix):
        found = ROUTES.find(f"{asked}{rest}".encode())
        assert found is not None
        assert (found.route, found.prefix, found.asked) == (owner.route, prefix, asked)


@given(path=spelled("/_call/photos/render") | spelled("/_CALL/photos/render"))
def test_no_spelling_leads_to_the_internal_route(path: str) -> None:
    with pytest.raises(AmbiguousPath):
        ROUTES.find(path.encode())


@given(path=spelled("/api/photos/1") | spelled("/api/v1/images/2") | spelled("/diary/3") | spelled("/api/photos/../projects/4"))
def test_what_is_passed_on_means_the_same_to_whoever_decodes_it(path: str) -> None:
    try:
        found = ROUTES.find(path.encode())
    except AmbiguousPath:
        return
    reading, previous = path, ""
    while reading != previous:
        kept: list[str] = []
        for part in reading.split("/"):
            if part == "..":
                kept = kept[:-1]
            elif part not in ("", "."):
                kept.append(part)
        assert ROUTES.find(("/" + "/".join(kept)).encode()) == found
        reading, previous = unquote(reading), reading


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/", "photos"),
        ("/api/photos", "photos"),
        ("/api/photosets", None),
        ("/api/v1/photos/a%2Fb", "photos"),
        ("/api/photos/caf%C3%A9", "photos"),
        ("/photos/UNP-1978", "photos"),
        ("/elsewhere", None),
        ("/api", None),
        ("/health", None),
    ],
)
def test_prefixes_are_whole_segments(path: str, owner: str | None) -> None:
    found = ROUTES.find(path.encode())
    assert (found.route.service if found else None) == owner


def test_a_spelling_that_two_services_would_have_belongs_to_nobody() -> None:
    routes = Routes((GatewayRoute("a", ("/api/items",)), GatewayRoute("b", ("/api/v1/items",))))
    assert [found and found.route.service for found in map(routes.find, (b"/api/items", b"/api/v1/items", b"/items"))] == [
        "a",
        "b",
        None,
    ]


def test_no_spelling_takes_a_page_of_the_platform() -> None:
    routes = Routes((GatewayRoute("health", ("/api/health",)),))
    assert routes.find(b"/health/live") is None
    assert routes.find(b"/api/v1/health") is not None


async def test_pages_of_the_door_take_nothing_from_who_owns_the_root(tmp_path: Path) -> None:
    async with serving(echo_path) as port:
        photos = GatewayRoute("photos", ("/",), (f"http://127.0.0.1:{port}",))
        async with door(tmp_path, photos, routers=(reference_router(),)) as front:
            assert (await front.client.post("/")).text == "/ /"
            assert (await front.client.get("/")).headers["location"] == "docs"
            assert "<html" in (await front.client.get("/docs")).text


async def echo_path(scope: Scope, _receive: Receive, send: Send) -> None:
    body = scope["raw_path"] + b" " + scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


async def test_upstream_and_inner_application_see_the_owned_spelling(tmp_path: Path) -> None:
    async with serving(echo_path) as port:
        remote = GatewayRoute("photos", ("/api/photos",), (f"http://127.0.0.1:{port}",))
        local = GatewayRoute("diary", ("/diary",))
        async with door(tmp_path, remote, local, inner=echo_path) as front:
            for path in ("/api/photos/a%2Fb", "/api/v1/photos/a%2Fb", "/photos/a%2Fb"):
                assert (await front.client.get(path)).text == "/api/photos/a%2Fb /api/photos/a/b"
            for path in ("/diary/caf%C3%A9", "/api/diary/caf%C3%A9"):
                assert (await front.client.get(path)).text == "/diary/caf%C3%A9 /diary/café"


async def test_the_internal_route_is_not_there_in_any_spelling(tmp_path: Path) -> None:
    async def never(_script: object, *_: object) -> None:
        raise AssertionError("the upstream was asked")

    async with scripted(never) as upstream:
        photos = GatewayRoute("photos", ("/api/photos",), (upstream.url,))
        async with door(tmp_path, photos, inner=echo_path, declared={"legacy": upstream.url}) as front:
            for path in (
                *(
                    "/_call/photos/render",
                    "/%5fcall/photos/render",
                    "/%255Fcall/photos",
                    "//_call/photos",
                    "/./_call/x",
                    "/_CALL/x",
                ),
                *("/x/../_call/photos", "/api/photos/..%2f..%2f_call/x", "/_call", "/\\_call/x", "/_call;a=b/x", "/_call%00/x"),
            ):
                answer = await raw(
                    front.port, f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
                )
                assert re.match(rb"HTTP/1.1 404 ", answer), (path, answer)
                assert b'"code":"NOT_FOUND"' in answer
            absolute = await raw(front.port, b"GET http://a/_call/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert absolute.startswith(b"HTTP/1.1 404 ")
        assert upstream.connections == 0
