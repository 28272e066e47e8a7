from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Scope
from tests.chassis.gateway.serving import Script, answering, door, raw, scripted

from trenza.chassis.auth.passports import issue_passport
from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.context import Principal
from trenza.chassis.gateway import GatewayRoute
from trenza.chassis.gateway.requests import HOP_BY_HOP, read_head
from trenza.chassis.http.problem import Problem
from trenza.chassis.testing.clock import ManualClock

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def photos(upstream: Script) -> GatewayRoute:
    return GatewayRoute("photos", ("/api/photos",), (upstream.url,))


async def act(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await answering(script, reader, writer, OK)


def lines(head: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        if line:
            name, _, value = line.partition(": ")
            found.setdefault(name.lower(), []).append(value)
    return found


def scope_of(headers: list[tuple[bytes, bytes]], **more: object) -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "http_version": "1.1",
        "scheme": "http",
        "client": ("10.0.0.9", 5),
        "headers": headers,
        **more,
    }


names = st.sampled_from(
    (
        *(
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "upgrade",
            "proxy-authorization",
            "x-forwarded-for",
            "forwarded",
            "x-real-ip",
        ),
        *("x-a", "x-b", "cookie", "accept", "x-forwarded-host", "x-forwarded-proto", "x-original-url"),
    )
)
values = st.text("abcxyz0123456789 ,;=", max_size=12).map(str.strip)


@given(
    headers=st.lists(st.tuples(names, values), max_size=12),
    named=st.lists(st.sampled_from(("x-a", "X-B", "cookie", "close")), max_size=3),
)
def test_what_concerns_one_connection_or_is_a_proxys_to_say_never_passes(
    headers: list[tuple[str, str]], named: list[str]
) -> None:
    sent = [(name.encode(), value.encode()) for name, value in headers if name != "connection"]
    scope = scope_of([(b"host", b"door.example"), (b"connection", ", ".join(named).encode()), *sent])
    head = lines(read_head(scope, ()).encode(b"/x"))
    dropped = {each.lower() for each in named} | {each.decode() for each in HOP_BY_HOP}
    assert not dropped & head.keys()
    assert head["x-forwarded-for"] == ["10.0.0.9"]
    assert head["forwarded"] == ['for=10.0.0.9;host="door.example";proto=http']
    assert head["x-forwarded-host"] == ["door.example"]
    assert "x-real-ip" not in head
    assert "x-original-url" not in head
    for name in {"x-a", "x-b", "cookie", "accept"} - dropped:
        assert head.get(name, []) == [value for given_name, value in headers if given_name == name]


@given(hops=st.lists(st.sampled_from(("10.0.0.1", "10.9.9.9", "203.0.113.7", "198.51.100.1", "nonsense", "::1")), max_size=5))
def test_the_client_is_the_nearest_address_that_no_trusted_proxy_vouches_for(hops: list[str]) -> None:
    headers = [(b"host", b"a"), (b"x-forwarded-for", ", ".join(hops).encode())]
    head = read_head(scope_of(headers), (ip_network("10.0.0.0/8"),))
    expected = "10.0.0.9"
    for hop in reversed(hops):
        if hop == "nonsense":
            break
        expected = hop
        if not hop.startswith("10."):
            break
    assert head.client == expected
    assert read_head(scope_of(headers), ()).client == "10.0.0.9"


@pytest.mark.parametrize(
    "framing",
    [
        [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"3"), (b"content-length", b"3")],
        [(b"content-length", b"3, 3")],
        [(b"content-length", b"+3")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"xchunked")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"identity")],
        [(b"host", b"b")],
        [(b"host", b"a/b")],
    ],
)
def test_what_two_readers_could_frame_differently_is_refused(framing: list[tuple[bytes, bytes]]) -> None:
    """Whatever server is in front: ours refuses most of these by itself."""
    headers = framing if framing[0] == (b"host", b"a/b") else [(b"host", b"a"), *framing]
    with pytest.raises(Problem, match="cannot be passed on"):
        read_head(scope_of(headers), ())


@pytest.mark.parametrize(
    "attack",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"X-A: 1\r\n folded: 2\r\nContent-Length: 0\r\n\r\n",
        b"Content-Length : 5\r\n\r\nhello",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Host: b\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_smuggling_is_refused_on_the_socket(tmp_path: Path, attack: bytes) -> None:
    async with scripted(act) as upstream, door(tmp_path, photos(upstream)) as front:
        smuggled = b"GET /_call/x HTTP/1.1\r\nHost: a\r\n\r\n"
        answer = await raw(front.port, b"POST /api/photos HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + attack + smuggled)
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert b"application/problem+json" in answer
        assert all(b"_call" not in head for head in upstream.heads)


async def test_trailers_pass_neither_as_headers_nor_on(tmp_path: Path) -> None:
    async def take(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        script.heads.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n")
        await writer.drain()

    async with scripted(take) as upstream, door(tmp_path, photos(upstream)) as front:
        body = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: Passport x\r\nX-Late: 2\r\n\r\n"
        answer = await raw(front.port, b"POST /api/photos HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + body)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"ok" in answer
        assert b"x-late" not in answer.lower()
        assert all(b"late" not in each.lower() and b"passport" not in each.lower() for each in upstream.heads)


async def test_a_passport_never_passes_the_door(tmp_path: Path) -> None:
    async with scripted(act) as upstream, door(tmp_path, photos(upstream)) as front:
        passport = issue_passport(front.key, caller="photos", audience="photos", principal=Principal(subject="mallory"))
        for value in (f"Passport {passport}", f"passport {passport}", f"PASSPORT\t{passport}", f"Bearer {passport}"):
            answer = await front.client.get("/api/photos", headers={"Authorization": value})
            assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_TOKEN")
        both = b"Authorization: Bearer x\r\nAuthorization: Passport y\r\n\r\n"
        twice = await raw(front.port, b"GET /api/photos HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + both)
        assert twice.startswith(b"HTTP/1.1 400 ")
        assert b"SEVERAL_AUTHORIZATIONS" in twice
        assert upstream.heads == []


async def test_tokens_are_checked_before_the_service_is_asked(tmp_path: Path) -> None:
    async with scripted(act) as upstream, door(tmp_path, photos(upstream)) as front:
        valid = issue_token(front.key, "ana", ("photos:editor",), timedelta(minutes=5))
        expired = issue_token(front.key, "ana", ("photos:editor",), timedelta(minutes=5), clock=ManualClock(LONG_AGO))
        for token in ("nonsense", expired, valid[:-4] + "AAAA"):
            answer = await front.client.get("/api/photos", headers={"Authorization": f"Bearer {token}", "Accept-Language": "es"})
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
            assert answer.json()["remedy"] == "solicite otro token"
            assert answer.headers["X-Correlation-ID"] == answer.json()["correlation_id"]
        assert upstream.heads == []
        assert (await front.client.get("/api/photos", headers={"Authorization": f"Bearer {valid}"})).status_code == 200
        assert (await front.client.get("/api/photos")).status_code == 200
        assert [lines(head).get("authorization") for head in upstream.heads] == [[f"Bearer {valid}"], None]


async def test_ids_are_made_at_the_door_or_taken_over_when_they_are_sound(tmp_path: Path) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with scripted(act) as upstream, door(tmp_path, photos(upstream)) as front:
        sound = await front.client.get(
            "/api/photos", headers={"X-Correlation-ID": "abc-1", "traceparent": trace, "tracestate": "a=1"}
        )
        forged = await front.client.get(
            "/api/photos", headers={"X-Correlation-ID": "a b", "traceparent": "00-0-0-01", "tracestate": "a=1"}
        )
        first, second = map(lines, upstream.heads)
        assert sound.headers["X-Correlation-ID"] == "abc-1"
        assert (first["x-correlation-id"], first["traceparent"], first["tracestate"]) == (["abc-1"], [trace], ["a=1"])
        assert second["x-correlation-id"] == [forged.headers["X-Correlation-ID"]]
        assert len(forged.headers["X-Correlation-ID"]) == 32
        assert len(second["traceparent"][0]) == 55
        assert "tracestate" not in second
        assert first["host"] == [f"127.0.0.1:{front.port}"]
        assert first["via"] == ["1.1 trenza"]


async def test_a_request_in_a_loop_is_ended(tmp_path: Path) -> None:
    async with scripted(act) as upstream, door(tmp_path, photos(upstream)) as front:
        answer = await front.client.get("/api/photos", headers={"Via": ", ".join(["1.1 trenza"] * 6)})
        assert (answer.status_code, answer.json()["code"]) == (508, "GATEWAY_LOOP")
        assert upstream.heads == []


async def test_security_and_cors_headers_stand_there_once(tmp_path: Path) -> None:
    own = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Content-Type-Options: nosniff\r\nAccess-Control-Allow-Origin: *\r\n"
    more = b"Content-Security-Policy: default-src 'self'\r\nX-Correlation-ID: theirs\r\nServer: legacy\r\n"
    hop = b"Connection: X-Hop\r\nX-Hop: 1\r\n\r\nok"

    async def take(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(script, reader, writer, own + more + hop)

    cors = {"cors_origins": ("https://app.example",)}
    async with scripted(take) as upstream, door(tmp_path, photos(upstream), settings=cors) as front:
        answer = await front.client.get("/api/photos", headers={"Origin": "https://app.example"})
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("access-control-allow-origin") == ["https://app.example"]
        assert answer.headers.get_list("content-security-policy") == ["default-src 'self'"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-correlation-id"] != "theirs"
        assert not {"server", "x-hop"} & answer.headers.keys()
        refused = await front.client.get("/api/photos", headers={"Origin": "https://app.example", "Authorization": "Bearer x"})
        assert refused.headers["access-control-allow-origin"] == "https://app.example"
        asked = len(upstream.heads)
        preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        assert (await front.client.options("/api/photos", headers=preflight)).status_code == 200
        assert len(upstream.heads) == asked


async def test_redirects_to_the_upstreams_own_address_lead_to_this_host(tmp_path: Path) -> None:
    async def take(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for target in (
            f"{script.url}/login?next=/a",
            f"{script.url}//evil.example",
            "https://other.example/a",
            f"{script.url}0/x",
        ):
            await script.read_head(reader)
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

    async with scripted(take) as upstream, door(tmp_path, declared={"legacy": upstream.url}) as front:
        found = [(await front.client.get("/old")).headers["location"] for _ in range(4)]
        assert found == ["/login?next=/a", "/evil.example", "https://other.example/a", f"{upstream.url}0/x"]


@given(limit=st.integers(1, 64), size=st.integers(0, 128), chunked=st.booleans())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_body_over_the_limit_is_refused_early(tmp_path: Path, limit: int, size: int, chunked: bool) -> None:  # noqa: FBT001 - drawn
    async def take(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await script.read_head(reader)
        if b"chunked" in head:
            await reader.readuntil(b"0\r\n\r\n")
        else:
            await reader.readexactly(size)
        writer.write(OK)

    async with scripted(take) as upstream, door(tmp_path, photos(upstream), options={"max_body_bytes": limit}) as front:
        body = b"x" * size
        framed = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body) if size else b"0\r\n\r\n"
        length = b"Transfer-Encoding: chunked\r\n\r\n" + framed if chunked else b"Content-Length: %d\r\n\r\n" % size + body
        answer = await raw(front.port, b"POST /api/photos HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + length)
        if size > limit:
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b"BODY_TOO_LARGE" in answer
        else:
            assert answer.startswith(b"HTTP/1.1 200 ")
