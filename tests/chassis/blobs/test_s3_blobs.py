"""S3: presigned URLs, and what goes wrong between us and the bucket."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from trenza.chassis.blobs import Blobs, BlobsUnavailable, InvalidBlobKey, open_blobs
from trenza.chassis.settings import PlatformSettings

pytestmark = pytest.mark.xdist_group("s3")


async def test_a_presigned_url_reads_one_object(s3_blobs: Blobs) -> None:
    await s3_blobs.put("a b/ü+.jpg", b"pixels", media_type="image/jpeg")
    await s3_blobs.put("other.jpg", b"other", media_type="image/jpeg")
    url = await s3_blobs.signed_url("a b/ü+.jpg", expires_in=timedelta(minutes=5))
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"pixels", "image/jpeg")
        assert (await client.get(url, headers={"Range": "bytes=2-3"})).content == b"xe"
        assert (await client.get(url.replace("a%20b/%C3%BC%2B.jpg", "other.jpg"))).status_code == 403
        assert (await client.put(url, content=b"forged")).status_code == 403
        assert (await client.delete(url)).status_code == 403
    assert await s3_blobs.get("a b/ü+.jpg") == b"pixels"


@pytest.mark.parametrize("name", ["plain.jpg", 'häßlich "quoted" & 100%+ñ=?.jpg', "日本.jpg"])
async def test_a_presigned_url_with_a_download_name(s3_blobs: Blobs, name: str) -> None:
    await s3_blobs.put("a/b.jpg", b"pixels", media_type="image/jpeg")
    url = await s3_blobs.signed_url("a/b.jpg", expires_in=timedelta(minutes=5), download_name=name)
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
        assert (answer.status_code, answer.content) == (200, b"pixels")
        disposition = answer.headers["content-disposition"]
        assert disposition.startswith("attachment;")
        assert disposition.endswith(f"filename*=UTF-8''{quote(name, safe='')}")
        assert (await client.get(url.replace("attachment", "inline"))).status_code == 403


async def test_a_presigned_url_expires(s3_blobs: Blobs) -> None:
    await s3_blobs.put("a.jpg", b"pixels", media_type="image/jpeg")
    url = await s3_blobs.signed_url("a.jpg", expires_in=timedelta(seconds=1))
    deadline = time.monotonic() + 10
    async with httpx.AsyncClient() as client:
        while (answer := await client.get(url)).status_code == 200:
            assert time.monotonic() < deadline
    assert answer.status_code == 403


async def test_a_presigned_url_writes_one_object(s3_blobs: Blobs) -> None:
    url = await s3_blobs.signed_url("up/a.png", method="PUT", expires_in=timedelta(minutes=5))
    async with httpx.AsyncClient() as client:
        answer = await client.put(url, content=b"sent", headers={"Content-Type": "image/png"})
        assert answer.status_code == 200
        assert (await client.get(url)).status_code == 403
    found = await s3_blobs.stat("up/a.png")
    assert found is not None
    assert (found.size, found.media_type, found.etag) == (4, "image/png", answer.headers["etag"])


async def test_a_presigned_url_takes_the_length_that_was_signed(s3_blobs: Blobs) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"sent"

    url = await s3_blobs.signed_url("up/ü a.png", method="PUT", expires_in=timedelta(minutes=5), length=4)
    async with httpx.AsyncClient() as client:
        for content in (b"", b"sen", b"sent!", body()):  # the last comes without a Content-Length
            assert (await client.put(url, content=content)).status_code == 403
        assert await s3_blobs.stat("up/ü a.png") is None
        assert (await client.put(url, content=b"sent", headers={"Content-Type": "image/png"})).status_code == 200
        assert (await client.get(url)).status_code == 403
    assert await s3_blobs.get("up/ü a.png") == b"sent"


async def test_the_given_media_type_is_kept(s3_blobs: Blobs) -> None:
    await s3_blobs.put("a.bin", b"x", media_type="image/avif")
    found = await s3_blobs.stat("a.bin")
    assert found is not None
    assert found.media_type == "image/avif"


async def test_the_prefix_counts_towards_the_longest_key(s3_blobs: Blobs) -> None:
    with pytest.raises(InvalidBlobKey, match="longer than 98"):  # 1024 less "some/", 32 digits and a slash
        await s3_blobs.put("/".join(["a" * 200] * 5), b"", media_type="text/plain")
    assert s3_blobs.local_path("a") is None
    assert s3_blobs.url_signer is None


async def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(s3_blobs: Blobs) -> None:
    await s3_blobs.put("a.bin", os.urandom(20 * 1024 * 1024), media_type="application/octet-stream")
    stream = s3_blobs.stream("a.bin")
    await anext(stream)
    await s3_blobs.put("a.bin", b"short", media_type="application/octet-stream")
    with pytest.raises(BlobsUnavailable, match="replaced"):
        async for _ in stream:
            pass


async def test_wrong_credentials_are_told_as_such(s3_settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")
    blobs = open_blobs(s3_settings)
    operations: list[Callable[[], Awaitable[object]]] = [
        blobs.ping,
        lambda: blobs.get("a"),
        lambda: blobs.put("a", b"", media_type="text/plain"),
        lambda: blobs.stat("a"),
        lambda: blobs.delete("a"),
    ]
    for operate in operations:
        with pytest.raises(BlobsUnavailable, match="credentials") as refused:
            await operate()
        assert "a-wrong-secret" not in str(refused.value)
    await blobs.close()


async def test_a_missing_bucket_is_not_a_missing_object(s3_settings: PlatformSettings) -> None:
    blobs = open_blobs(s3_settings.model_copy(update={"blobs_url": "s3://no-such-bucket-here"}))
    with pytest.raises(BlobsUnavailable, match="bucket"):
        await blobs.ping()
    with pytest.raises(BlobsUnavailable, match="bucket"):
        await blobs.get("a")
    await blobs.close()


async def test_a_server_that_is_not_there_is_given_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(name, value)
    blobs = open_blobs(PlatformSettings(data_dir=tmp_path, blobs_url="s3://bucket"))
    path = blobs.new_spool_file()
    path.write_bytes(b"kept")
    began = time.monotonic()
    with pytest.raises(BlobsUnavailable, match="answer"):
        await blobs.put_file("a.txt", path, media_type="text/plain")
    assert path.read_bytes() == b"kept"
    with pytest.raises(BlobsUnavailable):
        await blobs.stat("a.txt")
    with pytest.raises(BlobsUnavailable):
        await blobs.ping()
    assert time.monotonic() - began < 15
    await blobs.close()
