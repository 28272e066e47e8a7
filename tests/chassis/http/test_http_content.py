from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trenza.chassis.blobs import Blobs, open_blobs
from trenza.chassis.http.content import respond_with_blob
from trenza.chassis.settings import PlatformSettings

DATA = hashlib.sha512(b"content").digest() * 50  # 3,200 bytes without a period that a wrong offset could hide in
SIZE = len(DATA)


@pytest.fixture
async def blobs(settings: PlatformSettings) -> AsyncIterator[Blobs]:
    """A local store with one object."""
    blobs = open_blobs(settings)
    await blobs.put("a/photo.jpg", DATA, media_type="image/jpeg")
    await blobs.put("a/empty.txt", b"", media_type="text/plain")
    yield blobs
    await blobs.close()


@pytest.fixture
async def files(app: FastAPI, client: httpx.AsyncClient, blobs: Blobs) -> httpx.AsyncClient:
    """A client of a route that serves the store."""

    @app.api_route("/files/{key:path}", methods=["GET", "HEAD"])
    async def file(request: Request, key: str) -> Response:
        return await respond_with_blob(request, blobs, key, filename="niña 1.jpg", cache_control="private, max-age=60")

    return client


PHOTO = "/files/a/photo.jpg"


async def get(files: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await files.get(PHOTO, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def test_an_object_is_served_with_its_validators(files: httpx.AsyncClient, blobs: Blobs) -> None:
    answer = await get(files)
    stat = await blobs.stat("a/photo.jpg")
    assert stat is not None
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["etag"] == stat.etag
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "private, max-age=60"
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''ni%C3%B1a%201.jpg"
    assert abs(parsedate_to_datetime(answer.headers["last-modified"]) - stat.modified) < timedelta(seconds=1)


async def test_head_tells_the_same_without_the_content(files: httpx.AsyncClient) -> None:
    full, head = await get(files), await files.head(PHOTO, headers={"Range": "bytes=0-9"})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type", "last-modified", "accept-ranges"):
        assert head.headers[name] == full.headers[name]


async def test_a_missing_object_is_a_problem(files: httpx.AsyncClient) -> None:
    answer = await files.get("/files/a/none.jpg")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_what_the_client_has_is_not_sent_again(files: httpx.AsyncClient) -> None:
    first = await get(files)
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    for condition in (
        {"If-None-Match": etag},
        {"If-None-Match": f'"x", W/{etag}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": modified},
    ):
        for method in ("GET", "HEAD"):
            answer = await files.request(method, PHOTO, headers={**condition, "Range": "bytes=0-1"})
            assert (answer.status_code, answer.content) == (304, b""), condition
            assert answer.headers["etag"] == etag
            assert answer.headers["cache-control"] == "private, max-age=60"
            assert "content-type" not in answer.headers
    earlier = format_datetime(parsedate_to_datetime(modified) - timedelta(seconds=1), usegmt=True)
    for stale in (
        {"If-None-Match": '"x"'},
        {"If-Modified-Since": earlier},
        {"If-Modified-Since": "yesterday"},
        {"If-None-Match": '"x"', "If-Modified-Since": modified},  # the tag has the last word
    ):
        assert (await files.get(PHOTO, headers=stale)).status_code == 200, stale


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-99999", 0, SIZE),
        ("bytes=10-99999", 10, SIZE),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE),
        ("BYTES= 5 - 6 ", 5, 7),
    ],
)
async def test_a_range_is_served(files: httpx.AsyncClient, wanted: str, start: int, end: int) -> None:
    answer = await get(files, Range=wanted)
    assert answer.status_code == 206
    assert answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize(
    "wanted", ["bytes=0-1,5-6", "bytes=9-5", "bytes=-", "bytes=a-b", "lines=0-9", "0-9", "bytes", "bytes=1-2-3", "bytes=٣-٤"]
)
async def test_several_ranges_and_nonsense_get_everything(files: httpx.AsyncClient, wanted: str) -> None:
    answer = await files.get(PHOTO, headers=[(b"Range", wanted.encode())])
    assert (answer.status_code, answer.content) == (200, DATA)


@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", "bytes=99999-100000", "bytes=-0", "bytes=" + "9" * 19 + "-"])
async def test_a_range_outside_of_the_object_is_a_problem(files: httpx.AsyncClient, wanted: str) -> None:
    answer = await get(files, Range=wanted)
    assert (answer.status_code, answer.json()["code"]) == (416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


async def test_an_empty_object_has_no_ranges(files: httpx.AsyncClient) -> None:
    answer = await files.get("/files/a/empty.txt")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert (await files.get("/files/a/empty.txt", headers={"Range": "bytes=0-"})).status_code == 416


async def test_a_range_goes_on_with_the_same_version_only(files: httpx.AsyncClient, blobs: Blobs) -> None:
    first = await get(files)
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    for same in (etag, modified):
        assert (await get(files, Range="bytes=1-2", If_Range=same)).status_code == 206
    for other in (f"W/{etag}", '"x"', "Thu, 01 Jan 2015 00:00:00 GMT", "nonsense"):
        assert (await get(files, Range="bytes=1-2", If_Range=other)).status_code == 200
    await blobs.put("a/photo.jpg", b"another version", media_type="image/jpeg")
    changed = await get(files, Range="bytes=1-2", If_Range=etag)
    assert (changed.status_code, changed.content) == (200, b"another version")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.none() | st.integers(0, SIZE + 50), last=st.none() | st.integers(0, SIZE + 50))
async def test_every_range_is_that_of_the_rfc(files: httpx.AsyncClient, first: int | None, last: int | None) -> None:
    wanted = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    answer = await get(files, Range=wanted)
    if first is None:
        expected = None if last is None else DATA[SIZE - min(last, SIZE) :]
    else:
        expected = None if last is not None and last < first else DATA[first : None if last is None else last + 1]
    if expected is None:
        assert (answer.status_code, answer.content) == (200, DATA)
    elif expected == b"":
        assert answer.status_code == 416
    else:
        assert (answer.status_code, answer.content) == (206, expected)
