"""Signed URLs of the local store: over HTTP, against whatever may be done to them, and their secret."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.requests import ClientDisconnect
from starlette.types import Message

from trenza.chassis.auth.permissions import check_routes
from trenza.chassis.blobs import Blobs, open_blobs
from trenza.chassis.http.blobs import blob_router
from trenza.chassis.http.problem import install_problem_handlers
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.clock import ManualClock

MINUTE = timedelta(minutes=1)
MAX_PUT = 3 * 1024 * 1024


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def blobs(local_settings: PlatformSettings, clock: ManualClock) -> AsyncIterator[Blobs]:
    opened = open_blobs(local_settings, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def app(blobs: Blobs) -> FastAPI:
    made = FastAPI()
    install_problem_handlers(made)
    made.include_router(blob_router(blobs, max_put_bytes=MAX_PUT))
    return made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="https://photos.example") as made:
        yield made


def refused(answer: httpx.Response) -> bool:
    """Whether it is the 403 problem document."""
    if answer.status_code != 403:
        return False
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "INVALID_SIGNATURE"
    return True


async def test_a_signed_url_is_absolute_and_serves_the_object(
    blobs: Blobs, client: httpx.AsyncClient, clock: ManualClock
) -> None:
    put = await blobs.put("photos/UP 1/ü#?%.jpg", b"0123456789", media_type="image/jpeg")
    url = await blobs.signed_url("photos/UP 1/ü#?%.jpg", expires_in=MINUTE)
    assert url.startswith("https://photos.example/blobs/photos/UP%201/")
    clock.advance(10)
    answer = await client.get(url)
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["etag"] == put.etag
    assert answer.headers["cache-control"] == "private, max-age=50"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["accept-ranges"] == "bytes"
    assert "content-disposition" not in answer.headers


async def test_head_tells_without_sending(blobs: Blobs, client: httpx.AsyncClient) -> None:
    await blobs.put("a.jpg", b"0123456789", media_type="image/jpeg")
    answer = await client.head(await blobs.signed_url("a.jpg", expires_in=MINUTE))
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "10")


@pytest.mark.parametrize(
    ("asked", "status", "content", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
async def test_ranges(
    blobs: Blobs, client: httpx.AsyncClient, *, asked: str, status: int, content: bytes, content_range: str | None
) -> None:
    await blobs.put("a.txt", b"0123456789", media_type="text/plain")
    answer = await client.get(await blobs.signed_url("a.txt", expires_in=MINUTE), headers={"Range": asked})
    assert (answer.status_code, answer.content, answer.headers.get("content-range")) == (status, content, content_range)


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-20", "bytes=-0"])
async def test_a_range_outside_of_the_object(blobs: Blobs, client: httpx.AsyncClient, asked: str) -> None:
    await blobs.put("a.txt", b"0123456789", media_type="text/plain")
    answer = await client.get(await blobs.signed_url("a.txt", expires_in=MINUTE), headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10")


async def test_what_the_client_has_already_is_not_sent_again(blobs: Blobs, client: httpx.AsyncClient) -> None:
    first = await blobs.put("a.txt", b"first", media_type="text/plain")
    url = await blobs.signed_url("a.txt", expires_in=MINUTE)
    assert (await client.get(url, headers={"If-None-Match": first.etag})).status_code == 304
    assert (await client.get(url, headers={"If-Range": first.etag, "Range": "bytes=0-1"})).content == b"fi"
    await blobs.put("a.txt", b"again", media_type="text/plain")
    assert (await client.get(url, headers={"If-None-Match": first.etag})).content == b"again"
    assert (await client.get(url, headers={"If-Range": first.etag, "Range": "bytes=0-1"})).content == b"again"


@pytest.mark.parametrize("name", ["report.pdf", 'ñ "x" & 100%.html', "日本.jpg"])
async def test_a_signed_download_name_makes_an_attachment(blobs: Blobs, client: httpx.AsyncClient, name: str) -> None:
    await blobs.put("a.html", b"<script>", media_type="text/html")
    url = await blobs.signed_url("a.html", expires_in=MINUTE, download_name=name)
    answer = await client.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    assert answer.headers["content-disposition"].endswith(f"filename*=UTF-8''{quote(name, safe='')}")
    assert refused(await client.get(httpx.URL(url).copy_set_param("download", "other.exe")))
    assert refused(await client.get(httpx.URL(url).copy_remove_param("download")))


async def test_a_missing_object_is_a_404(blobs: Blobs, client: httpx.AsyncClient) -> None:
    answer = await client.get(await blobs.signed_url("not/there.jpg", expires_in=MINUTE))
    assert (answer.status_code, answer.json()["code"]) == (404, "BLOB_MISSING")


async def test_a_put_stores_the_body(blobs: Blobs, client: httpx.AsyncClient, tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    url = await blobs.signed_url("up/new.png", method="PUT", expires_in=MINUTE)
    answer = await client.put(url, content=data)
    found = await blobs.stat("up/new.png")
    assert found is not None
    assert (answer.status_code, answer.headers["etag"]) == (200, found.etag)
    assert found.media_type == "image/png"
    assert await blobs.get("up/new.png") == data
    assert not any(path.is_file() for path in (tmp_path / "data" / "spool").rglob("*"))


@pytest.mark.parametrize("declared", [True, False])
async def test_a_put_over_the_limit_leaves_nothing(
    blobs: Blobs, client: httpx.AsyncClient, tmp_path: Path, *, declared: bool
) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(MAX_PUT // 65_536 + 1):
            yield bytes(65_536)

    url = await blobs.signed_url("up/new.png", method="PUT", expires_in=MINUTE)
    answer = await client.put(url, content=bytes(MAX_PUT + 1) if declared else body())
    assert answer.status_code == 413
    assert answer.json()["limit"] == MAX_PUT
    assert await blobs.stat("up/new.png") is None
    assert not any(path.is_file() for path in (tmp_path / "data" / "spool").rglob("*"))


@pytest.mark.parametrize("sent", [0, 9, 11, 70_000])
@pytest.mark.parametrize("declared", [True, False])
async def test_a_put_of_another_length_than_was_signed_leaves_nothing(
    blobs: Blobs, client: httpx.AsyncClient, tmp_path: Path, *, declared: bool, sent: int
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(sent)
        if sent > 10:
            pytest.fail("the body was read on beyond the length")

    url = await blobs.signed_url("up/new.png", method="PUT", expires_in=MINUTE, length=10)
    answer = await client.put(url, content=bytes(sent) if declared else body())
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "WRONG_LENGTH")
    assert (problem["field"], problem["limit"]) == ("Content-Length", 10)
    assert "10 bytes" in problem["detail"]
    assert problem["remedy"]
    assert await blobs.stat("up/new.png") is None
    assert not any(path.is_file() for path in (tmp_path / "data" / "spool").rglob("*"))


@pytest.mark.parametrize("length", [0, 10, MAX_PUT + 1])
async def test_a_put_of_the_length_that_was_signed(blobs: Blobs, client: httpx.AsyncClient, length: int) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(length)

    url = await blobs.signed_url("up/new.png", method="PUT", expires_in=MINUTE, length=length)
    for content in (bytes(length), body()):
        assert (await client.put(url, content=content)).status_code == 200
    assert await blobs.get("up/new.png") == bytes(length)


async def test_a_signed_length_cannot_be_changed(blobs: Blobs, client: httpx.AsyncClient) -> None:
    url = httpx.URL(await blobs.signed_url("up/new.png", method="PUT", expires_in=MINUTE, length=10))
    assert refused(await client.put(url.copy_set_param("length", "11"), content=bytes(11)))
    assert refused(await client.put(url.copy_set_param("length", "010"), content=bytes(10)))
    without = url.copy_remove_param("length")
    assert refused(await client.put(without, content=bytes(11)))
    assert refused(await client.put(without.copy_set_param("download", "\n10"), content=bytes(11)))
    assert refused(await client.put(without.copy_set_param("download", "10"), content=bytes(11)))
    unbound = httpx.URL(await blobs.signed_url("up/new.png", method="PUT", expires_in=MINUTE))
    assert refused(await client.put(unbound.copy_set_param("length", "10"), content=bytes(10)))


async def test_a_put_that_breaks_off_leaves_nothing(blobs: Blobs, app: FastAPI, tmp_path: Path) -> None:
    url = httpx.URL(await blobs.signed_url("up/new.png", method="PUT", expires_in=MINUTE))
    messages: list[Message] = [{"type": "http.request", "body": bytes(1_000_000), "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(_message: object) -> None:
        return None

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "https",
        "path": url.path,
        "raw_path": url.raw_path,
        "query_string": url.query,
        "headers": [],
    }
    with pytest.raises(ClientDisconnect):
        await app(scope, receive, send)
    assert await blobs.stat("up/new.png") is None
    assert not any(path.is_file() for path in (tmp_path / "data" / "spool").rglob("*"))


async def test_a_url_is_good_for_its_method_and_object_only(blobs: Blobs, client: httpx.AsyncClient) -> None:
    await blobs.put("a.jpg", b"a", media_type="image/jpeg")
    await blobs.put("b.jpg", b"b", media_type="image/jpeg")
    get = await blobs.signed_url("a.jpg", expires_in=MINUTE)
    put = await blobs.signed_url("a.jpg", method="PUT", expires_in=MINUTE)
    assert refused(await client.put(get, content=b"forged"))
    assert refused(await client.get(put))
    assert (await client.head(put)).status_code == 403
    assert refused(await client.get(get.replace("a.jpg", "b.jpg")))
    assert (await client.post(get)).status_code == 405
    assert await blobs.get("a.jpg") == b"a"


async def test_a_url_ends_when_it_says(blobs: Blobs, client: httpx.AsyncClient, clock: ManualClock) -> None:
    await blobs.put("a.jpg", b"a", media_type="image/jpeg")
    url = await blobs.signed_url("a.jpg", expires_in=MINUTE)
    clock.advance(59)
    assert (await client.get(url)).status_code == 200
    clock.advance(1)
    answer = await client.get(url)
    assert refused(answer)
    assert "expired" in answer.json()["detail"]


@pytest.mark.parametrize("parameter", ["expires", "signature"])
@pytest.mark.parametrize(
    "value", [None, "", "0", "-1", "+1", " 1", "1e99", "9" * 30, "٣٣", "nan", "x", "\ud800", "A" * 5000, "%00"]
)
async def test_tampered_parameters_are_refused(
    blobs: Blobs, client: httpx.AsyncClient, parameter: str, value: str | None
) -> None:
    await blobs.put("a.jpg", b"a", media_type="image/jpeg")
    url = httpx.URL(await blobs.signed_url("a.jpg", expires_in=MINUTE))
    if value is None:
        url = url.copy_remove_param(parameter)
    else:
        params = dict(url.params) | {parameter: value}
        url = url.copy_with(query="&".join(f"{k}={quote(v, errors='surrogatepass')}" for k, v in params.items()).encode())
    assert refused(await client.get(url))


async def test_a_later_expiry_needs_a_new_signature(blobs: Blobs, client: httpx.AsyncClient) -> None:
    await blobs.put("a.jpg", b"a", media_type="image/jpeg")
    url = httpx.URL(await blobs.signed_url("a.jpg", expires_in=MINUTE))
    assert refused(await client.get(url.copy_set_param("expires", str(int(url.params["expires"]) + 1))))
    assert refused(await client.get(url.copy_set_param("expires", "0" + url.params["expires"])))


@pytest.mark.parametrize(
    "path", ["../keys/blobs.secret", "%2e%2e/keys/blobs.secret", "a/..%2f..%2fkeys/blobs.secret", "/etc/passwd", ""]
)
async def test_no_path_leads_out_of_the_folder(blobs: Blobs, client: httpx.AsyncClient, path: str) -> None:
    assert blobs.url_signer is not None
    query = httpx.URL(blobs.url_signer.url("a", method="GET", expires_in=MINUTE, download_name=None)).query.decode()
    answer = await client.get(f"/blobs/{path}?{query}")
    assert answer.status_code in (403, 404)
    assert b"data" not in answer.content


async def test_another_secret_signs_otherwise(tmp_path: Path, client: httpx.AsyncClient, clock: ManualClock) -> None:
    settings = PlatformSettings(
        data_dir=tmp_path / "other", public_url="https://photos.example", blobs_secret=SecretStr("x" * 32)
    )
    other = open_blobs(settings, clock=clock)
    assert refused(await client.get(await other.signed_url("a.jpg", expires_in=MINUTE)))
    assert not (tmp_path / "other" / "keys").exists()
    await other.close()


async def test_urls_outlive_a_restart(
    blobs: Blobs, client: httpx.AsyncClient, local_settings: PlatformSettings, clock: ManualClock
) -> None:
    await blobs.put("a.jpg", b"a", media_type="image/jpeg")
    again = open_blobs(local_settings, clock=clock)
    assert (await client.get(await again.signed_url("a.jpg", expires_in=MINUTE))).content == b"a"
    await again.close()
    secret = local_settings.data_dir / "keys" / "blobs.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_every_route_says_why_it_is_public(app: FastAPI) -> None:
    assert check_routes(app) == ()
    assert "/blobs/{key}" in app.openapi()["paths"]


@pytest.mark.xdist_group("s3")
async def test_a_bucket_serves_its_own_urls(s3_blobs: Blobs) -> None:
    assert blob_router(s3_blobs).routes == []
