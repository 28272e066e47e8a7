from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import orjson
import pytest
from fastapi import APIRouter, Body, FastAPI, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from trenza.chassis.context import current_context
from trenza.chassis.http.limits import allow_body
from trenza.chassis.http.middleware import install_middleware
from trenza.chassis.http.problem import install_problem_handlers
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging
from trenza.chassis.telemetry.metrics import render_metrics


@pytest.fixture
def log_lines(settings: PlatformSettings) -> io.StringIO:
    """The log of the test as JSON lines."""
    stream = io.StringIO()
    production = settings.model_copy(update={"environment": "production"})
    configure_logging(production, stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


async def call(app: FastAPI, *, headers: list[tuple[bytes, bytes]], body: list[bytes]) -> list[dict[str, Any]]:
    """One POST as a server would pass it on; the last chunk of the body is followed by a disconnect."""
    sent: list[dict[str, Any]] = []
    chunks = iter(body)
    left = len(body)

    async def receive() -> dict[str, Any]:
        nonlocal left
        left -= 1
        if left < 0:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": next(chunks), "more_body": left > 0}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/echo", "headers": headers, "query_string": b"", "http_version": "1.1"}
    await app(scope, receive, send)
    return sent


async def test_a_correlation_id_is_taken_over_or_made(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/id")
    async def correlation_id() -> str:
        return current_context().correlation_id

    kept = await client.get("/id", headers={"X-Correlation-ID": "my-id.7"})
    assert kept.json() == kept.headers["X-Correlation-ID"] == "my-id.7"
    made = [await client.get("/id", headers={"X-Correlation-ID": bad}) for bad in ("a b", "x" * 129, "a;b", "<script>")]
    ids = {answer.headers["X-Correlation-ID"] for answer in made}
    assert len(ids) == 4
    assert all(len(made_id) == 32 and made_id.isalnum() for made_id in ids)


async def test_every_answer_tells_browsers_to_be_careful(client: httpx.AsyncClient) -> None:
    for path in ("/nothing", "/openapi.json"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "strict-transport-security" not in headers, "the platform of the test is not reached over TLS"
    documents = await client.get("/docs")
    assert "https://cdn.jsdelivr.net" in documents.headers["content-security-policy"]
    assert "script-src 'unsafe-inline' https://cdn.jsdelivr.net" in documents.headers["content-security-policy"]
    assert "cdn.jsdelivr.net" in documents.text


async def test_over_tls_browsers_are_told_to_stay_with_it_and_pages_keep_their_own_policy(settings: PlatformSettings) -> None:
    app = FastAPI()
    install_middleware(app, settings.model_copy(update={"public_url": "https://trenza.example"}))

    @app.get("/page")
    async def page() -> HTMLResponse:
        return HTMLResponse("<p>", headers={"Content-Security-Policy": "default-src 'self'"})

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        headers = (await client.get("/page")).headers
    assert headers["strict-transport-security"].startswith("max-age=")
    assert headers.get_list("content-security-policy") == ["default-src 'self'"]


async def test_cors_is_answered_for_the_named_origins_errors_included(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError

    for path in ("/broken", "/nothing"):
        answer = await client.get(path, headers={"Origin": "https://app.example"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "X-Correlation-ID" in answer.headers["access-control-expose-headers"]
    stranger = await client.get("/nothing", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in stranger.headers
    preflight = await client.options(
        "/broken",
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,idempotency-key,last-event-id,prefer",
        },
    )
    assert preflight.status_code == 200


async def test_a_body_over_the_limit_is_refused_before_it_is_read(app: FastAPI) -> None:
    @app.post("/echo")
    async def echo(data: Annotated[bytes, Body()]) -> int:
        return len(data)

    sent = await call(app, headers=[(b"content-length", b"10001")], body=[b"x" * 10_001])
    headers = dict(sent[0]["headers"])
    assert sent[0]["status"] == 413
    assert headers[b"connection"] == b"close"
    problem = orjson.loads(sent[1]["body"])
    assert (problem["code"], problem["limit"]) == ("BODY_TOO_LARGE", 10_000)


async def test_a_body_without_a_length_is_counted_as_it_comes(app: FastAPI) -> None:
    seen = [0]

    @app.post("/echo")
    async def echo(request: Request) -> None:
        async for chunk in request.stream():
            seen[0] += len(chunk)

    sent = await call(app, headers=[(b"transfer-encoding", b"chunked")], body=[b"x" * 4000] * 5)
    assert sent[0]["status"] == 413
    assert seen == [8000]
    # A length that is a lie helps nobody.
    sent = await call(app, headers=[(b"content-length", b"10")], body=[b"x" * 4000] * 5)
    assert sent[0]["status"] == 413


async def test_a_route_may_allow_itself_a_larger_body(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.post("/large")
    async def large(request: Request) -> int:
        allow_body(request, 50_000)
        return len(await request.body())

    assert (await client.post("/large", content=b"x" * 50_000)).json() == 50_000
    assert (await client.post("/large", content=b"x" * 50_001)).status_code == 413


async def test_a_connection_is_not_kept_for_a_large_body_that_nobody_read(app: FastAPI) -> None:
    @app.post("/echo")
    async def refuse() -> Response:
        return Response(status_code=403)

    async def connection(headers: list[tuple[bytes, bytes]]) -> bytes | None:
        return dict((await call(app, headers=headers, body=[b"x"]))[0]["headers"]).get(b"connection")

    assert await connection([(b"content-length", b"9000000")]) == b"close"
    assert await connection([(b"transfer-encoding", b"chunked")]) == b"close"
    assert await connection([(b"content-length", b"9000")]) is None
    assert await connection([]) is None


async def test_an_answer_that_does_not_begin_in_time_is_given_up(settings: PlatformSettings) -> None:
    app = FastAPI()
    install_problem_handlers(app)
    install_middleware(app, settings, request_seconds=0.05)
    given_up = asyncio.Event()

    @app.get("/slow")
    async def slow() -> None:
        assert (current_context().remaining() or 99) < 0.06
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            for _ in range(4):
                await asyncio.sleep(0.03)  # longer than the limit in all: a stream that has begun may go on
                yield "x"

        return StreamingResponse(body())

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/slow")
        assert (answer.status_code, answer.json()["code"]) == (504, "DEADLINE_EXCEEDED")
        assert given_up.is_set()
        assert (await client.get("/stream")).text == "xxxx"


async def test_a_client_that_leaves_is_no_error_of_ours(app: FastAPI, log_lines: io.StringIO) -> None:
    @app.post("/echo")
    async def echo(request: Request) -> None:
        async for _ in request.stream():
            pass

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/echo", "headers": [(b"content-length", b"9")], "query_string": b""}
    await app(scope, receive, send)
    assert sent == []
    assert [(line["level"], line["status"]) for line in lines(log_lines)] == [("info", 499)]


async def test_each_request_is_logged_and_counted_by_its_template(
    app: FastAPI, client: httpx.AsyncClient, log_lines: io.StringIO
) -> None:
    inner = APIRouter()

    @inner.get("/things/{thing_id}")
    async def thing(thing_id: int) -> int:
        return thing_id

    app.include_router(inner, prefix="/api/middleware")
    app.include_router(inner, prefix="/again/middleware")
    for path in ("/api/middleware/things/1", "/api/middleware/things/2", "/again/middleware/things/3"):
        await client.get(f"{path}?token=secret", headers={"X-Correlation-ID": "seen"})
    await client.get("/nobody/knows/this/path")
    logged = lines(log_lines)
    assert [line["endpoint"] for line in logged] == [
        "/api/middleware/things/{thing_id}",
        "/api/middleware/things/{thing_id}",
        "/again/middleware/things/{thing_id}",
        "(none)",
    ]
    assert logged[0]["path"] == "/api/middleware/things/1"
    assert logged[0]["correlation_id"] == "seen"
    assert "secret" not in log_lines.getvalue()
    metrics = render_metrics()[0].decode()
    labels = 'endpoint="/api/middleware/things/{thing_id}",method="GET"'
    assert f'http_requests_total{{{labels},status_code="200"}} 2.0' in metrics
    assert f"http_request_duration_seconds_count{{{labels}}} 2.0" in metrics
    assert "/nobody/knows" not in metrics


async def test_an_unexpected_error_is_logged_with_its_trace_under_the_correlation_id(
    app: FastAPI, client: httpx.AsyncClient, log_lines: io.StringIO
) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise LookupError("the cause")

    answer = await client.get("/broken")
    failed, request = lines(log_lines)
    assert failed["correlation_id"] == request["correlation_id"] == answer.headers["X-Correlation-ID"]
    assert "LookupError: the cause" in failed["exception"]
    assert request["status"] == 500


async def test_half_an_answer_is_never_taken_for_a_whole_one(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/half")
    async def half() -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield "first half"
            raise LookupError("the disk")

        return StreamingResponse(body())

    with pytest.raises(LookupError):  # a server breaks the connection on this
        await client.get("/half")


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity", "GZIP"])
async def test_an_encoded_body_is_told_to_come_as_it_is(app: FastAPI, client: httpx.AsyncClient, encoding: str) -> None:
    @app.post("/json")
    async def json(body: dict[str, int]) -> dict[str, int]:
        return body

    @app.post("/stream")
    async def stream(request: Request) -> int:
        return len([chunk async for chunk in request.stream()])

    for path in ("/json", "/stream"):
        headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
        answer = await client.post(path, content=gzip.compress(b'{"a": 1}'), headers=headers)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (415, "BODY_ENCODED")
        assert (problem["field"], problem["limit"]) == ("Content-Encoding", "identity")
        assert "without" in problem["remedy"]
        assert answer.headers["accept-encoding"] == "identity"
    plain = {"Content-Type": "application/json", "Content-Encoding": "Identity"}
    assert (await client.post("/json", content=b'{"a": 1}', headers=plain)).json() == {"a": 1}
    assert (await client.get("/docs", headers={"Content-Encoding": encoding})).status_code == 200
