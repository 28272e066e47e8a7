"""What every object store promises: one suite over the local folder and a real S3 server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest

from trenza.chassis.blobs import BlobMissing, Blobs, InvalidBlobKey, open_blobs
from trenza.chassis.blobs.objects import MAX_CHUNK_BYTES
from trenza.chassis.settings import PlatformSettings

BAD_KEYS = ["", "/etc/passwd", "a//b", "a/", "../a", "a/../b", "a/./b", ".", "..", "a\x00b", "a\nb", "a\\b", "a" * 256, "ü" * 128]
BAD_KEYS += ["/".join(["a" * 250] * 5), "a\u202eb", "\ud800"]


async def streamed(blobs: Blobs, key: str, *, start: int = 0, end: int | None = None) -> list[bytes]:
    return [chunk async for chunk in blobs.stream(key, start=start, end=end)]


async def test_what_is_put_comes_back(blobs: Blobs) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    put = await blobs.put("photos/UP-1/a.jpg", b"pixels", media_type="image/jpeg")
    assert (put.key, put.size, put.media_type) == ("photos/UP-1/a.jpg", 6, "image/jpeg")
    assert put.etag.startswith('"')
    assert put.etag.endswith('"')
    assert before <= put.modified <= datetime.now(UTC) + timedelta(seconds=2)
    found = await blobs.stat("photos/UP-1/a.jpg")
    assert found is not None
    assert (found.key, found.size, found.etag, found.media_type) == (put.key, put.size, put.etag, put.media_type)
    assert abs(found.modified - put.modified) < timedelta(seconds=3)
    assert await blobs.get("photos/UP-1/a.jpg") == b"pixels"


async def test_an_empty_object_is_an_object(blobs: Blobs) -> None:
    await blobs.put("empty.bin", b"", media_type="application/octet-stream")
    assert await blobs.get("empty.bin") == b""
    assert await streamed(blobs, "empty.bin") == []
    assert await blobs.read_range("empty.bin", 0, 10) == b""


async def test_a_file_is_consumed(blobs: Blobs, spooled: Callable[[bytes], Path]) -> None:
    path = spooled(b"from a file")
    put = await blobs.put_file("a/b.png", path, media_type="image/png")
    assert put.size == 11
    assert not path.exists()
    assert await blobs.get("a/b.png") == b"from a file"


async def test_a_refused_file_stays_with_the_caller(blobs: Blobs, spooled: Callable[[bytes], Path]) -> None:
    path = spooled(b"mine")
    with pytest.raises(InvalidBlobKey):
        await blobs.put_file("../b.png", path, media_type="image/png")
    assert path.read_bytes() == b"mine"


async def test_a_file_that_is_not_there_is_the_callers_mistake(blobs: Blobs) -> None:
    with pytest.raises(FileNotFoundError):
        await blobs.put_file("a.png", blobs.new_spool_file(), media_type="image/png")
    assert await blobs.stat("a.png") is None


async def test_a_large_file_goes_through_in_parts(blobs: Blobs, spooled: Callable[[bytes], Path]) -> None:
    data = os.urandom(20 * 1024 * 1024 + 12_345)
    await blobs.put_file("large.bin", spooled(data), media_type="application/octet-stream")
    chunks = await streamed(blobs, "large.bin")
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= MAX_CHUNK_BYTES
    assert b"".join(await streamed(blobs, "large.bin", start=7_000_000, end=18_000_001)) == data[7_000_000:18_000_001]
    assert await blobs.get("large.bin") == data


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, None),
        (0, 5),
        (3, 7),
        (3, None),
        (9, 10),
        (9, 999),
        (10, None),
        (10, 20),
        (500, 600),
        (500, None),
        (0, 0),
        (4, 4),
        (99, 99),
    ],
)
async def test_ranges_are_those_of_slices(blobs: Blobs, start: int, end: int | None) -> None:
    data = b"0123456789"
    await blobs.put("digits.txt", data, media_type="text/plain")
    assert b"".join(await streamed(blobs, "digits.txt", start=start, end=end)) == data[start:end]
    if end is not None:
        assert await blobs.read_range("digits.txt", start, end - start) == data[start:end]


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (5, 4)])
async def test_impossible_ranges_are_refused(blobs: Blobs, start: int, end: int) -> None:
    await blobs.put("digits.txt", b"0123456789", media_type="text/plain")
    with pytest.raises(ValueError, match="range"):
        await streamed(blobs, "digits.txt", start=start, end=end)
    with pytest.raises(ValueError, match="range"):
        await blobs.read_range("digits.txt", start, end - start)


async def test_what_is_not_there_is_missing(blobs: Blobs) -> None:
    await blobs.put("folder/a.txt", b"a", media_type="text/plain")
    for key in ("nothing.txt", "folder", "folder/a.txt/below", "nowhere/at/all"):
        assert await blobs.stat(key) is None
        with pytest.raises(BlobMissing):
            await blobs.get(key)
        with pytest.raises(BlobMissing):
            await blobs.read_range(key, 0, 1)
        for start, end in ((0, None), (5, 10), (0, 0)):
            with pytest.raises(BlobMissing):
                await streamed(blobs, key, start=start, end=end)
        with pytest.raises(BlobMissing):
            async with blobs.as_file(key):
                pass


async def test_deleting_is_final_and_may_be_repeated(blobs: Blobs) -> None:
    await blobs.put("a/b/c.txt", b"c", media_type="text/plain")
    await blobs.put("a/d.txt", b"d", media_type="text/plain")
    await blobs.delete("a/b/c.txt", "never/was.txt", "a")
    await blobs.delete("a/b/c.txt")
    await blobs.delete()
    assert await blobs.stat("a/b/c.txt") is None
    assert await blobs.get("a/d.txt") == b"d"
    await blobs.put("a/b/c.txt", b"again", media_type="text/plain")
    assert await blobs.get("a/b/c.txt") == b"again"


async def test_a_list_is_of_a_folder(blobs: Blobs) -> None:
    for key in ("p/UP-1/a.jpg", "p/UP-1/b/c.webp", "p/UP-12/a.jpg", "q.txt"):
        await blobs.put(key, key.encode(), media_type="image/jpeg")

    async def listed(prefix: str) -> dict[str, int]:
        return {found.key: found.size async for found in blobs.list(prefix)}

    assert await listed("p/UP-1") == {"p/UP-1/a.jpg": 12, "p/UP-1/b/c.webp": 15}
    assert await listed("p/UP-1/") == await listed("p/UP-1")
    assert set(await listed("")) == {"p/UP-1/a.jpg", "p/UP-1/b/c.webp", "p/UP-12/a.jpg", "q.txt"}
    assert await listed("nothing") == {}
    assert await listed("q.txt") == {}
    types = {found.key: found.media_type async for found in blobs.list("p/UP-1")}
    assert types == {"p/UP-1/a.jpg": "image/jpeg", "p/UP-1/b/c.webp": "image/webp"}
    for prefix in ("/", "..", "p//"):
        with pytest.raises(InvalidBlobKey):
            await listed(prefix)


async def test_many_objects_are_listed(blobs: Blobs) -> None:
    keys = {f"many/{number % 7}/{number}.txt" for number in range(1203)}
    for batch in range(0, 1203, 50):
        chosen = sorted(keys)[batch : batch + 50]
        await asyncio.gather(*(blobs.put(key, b"x", media_type="text/plain") for key in chosen))
    assert {found.key async for found in blobs.list("many")} == keys
    await blobs.delete(*keys)
    assert [found async for found in blobs.list("many")] == []


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_bad_keys_are_refused_by_every_operation(blobs: Blobs, key: str) -> None:
    with pytest.raises(InvalidBlobKey):
        await blobs.put(key, b"", media_type="text/plain")
    with pytest.raises(InvalidBlobKey):
        await blobs.get(key)
    with pytest.raises(InvalidBlobKey):
        await blobs.read_range(key, 0, 1)
    with pytest.raises(InvalidBlobKey):
        await streamed(blobs, key)
    with pytest.raises(InvalidBlobKey):
        await blobs.stat(key)
    with pytest.raises(InvalidBlobKey):
        await blobs.delete("good.txt", key)
    with pytest.raises(InvalidBlobKey):
        await blobs.signed_url(key, expires_in=timedelta(minutes=1))
    with pytest.raises(InvalidBlobKey):
        blobs.local_path(key)
    with pytest.raises(InvalidBlobKey):
        async with blobs.as_file(key):
            pass


async def test_unusual_but_sound_keys_are_kept_as_they_are(blobs: Blobs) -> None:
    keys = [
        "sp ace/ü ñ.txt",
        "a%2Fb/%25.txt",
        "q?x=1&y=#f.txt",
        "[x]{y}`^|<>\"'.txt",
        "~/.hidden",
        "..a/b..",
        "+plus+.txt",
        "a:b.txt",
    ]
    for key in keys:
        await blobs.put(key, key.encode(), media_type="text/plain")
    for key in keys:
        assert await blobs.get(key) == key.encode()
    assert {found.key async for found in blobs.list()} == set(keys)


async def test_a_put_replaces_as_a_whole(blobs: Blobs) -> None:
    """Readers beside twenty writers of one key see one version or another, never a mixture, and tags tell versions apart."""
    versions = [bytes([number]) * (200_000 + number) for number in range(20)]
    await blobs.put("contested.bin", versions[0], media_type="application/octet-stream")
    seen: list[bytes] = []
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            seen.append(await blobs.get("contested.bin"))

    reader = asyncio.create_task(read())
    stats = await asyncio.gather(*(blobs.put("contested.bin", data, media_type="image/jpeg") for data in versions))
    done.set()
    await reader
    seen.append(await blobs.get("contested.bin"))
    assert set(seen) <= set(versions)
    assert len({stat.etag for stat in stats}) == len(versions)
    last = await blobs.stat("contested.bin")
    assert last is not None
    assert last.etag in {stat.etag for stat in stats}


async def test_puts_survive_deletes_beside_them(blobs: Blobs) -> None:
    """Deletes that empty a folder must not take it away from a put that is about to use it."""

    async def put_and_delete(number: int) -> None:
        for turn in range(10):
            await blobs.put(f"x/y/{number}.txt", b"turn", media_type="text/plain")
            if turn < 9:
                await blobs.delete(f"x/y/{number}.txt")

    await asyncio.gather(*(put_and_delete(number) for number in range(8)))
    assert {found.key async for found in blobs.list("x")} == {f"x/y/{number}.txt" for number in range(8)}


async def test_as_a_file(blobs: Blobs, tmp_path: Path) -> None:
    data = os.urandom(3 * 1024 * 1024)
    await blobs.put("a/photo.jpg", data, media_type="image/jpeg")
    async with blobs.as_file("a/photo.jpg") as path:
        assert path.read_bytes() == data
        assert path.suffix == ".jpg"
        assert path.is_relative_to(tmp_path)
    assert await blobs.get("a/photo.jpg") == data
    assert not any(path.is_file() for path in (tmp_path / "data" / "spool").rglob("*"))


async def test_errors_inside_as_file_pass_through(blobs: Blobs, tmp_path: Path) -> None:
    await blobs.put("a.jpg", b"x", media_type="image/jpeg")
    with pytest.raises(OSError, match="mine"):
        async with blobs.as_file("a.jpg"):
            raise OSError("mine")
    assert not any(path.is_file() for path in (tmp_path / "data" / "spool").rglob("*"))


async def test_a_stream_that_is_left_early_leaves_nothing_open(blobs: Blobs) -> None:
    await blobs.put("large.bin", os.urandom(5 * 1024 * 1024), media_type="application/octet-stream")
    process = psutil.Process()
    before = process.num_fds()
    for _ in range(20):
        stream = blobs.stream("large.bin")
        assert len(await anext(stream)) == MAX_CHUNK_BYTES
        await stream.aclose()  # type: ignore[attr-defined]  # async generators have it; AsyncIterator does not say so
    assert process.num_fds() <= before + 5  # S3 keeps a few connections


async def test_signed_urls_live_from_a_second_to_a_week(blobs: Blobs) -> None:
    for lifetime in (timedelta(0), timedelta(seconds=-5), timedelta(days=8)):
        with pytest.raises(ValueError, match="lives for"):
            await blobs.signed_url("a.jpg", expires_in=lifetime)
    for name in ("a/b", "a\nb", "x" * 256):
        with pytest.raises(ValueError, match="download name"):
            await blobs.signed_url("a.jpg", expires_in=timedelta(minutes=1), download_name=name)
    with pytest.raises(ValueError, match="length"):
        await blobs.signed_url("a.jpg", method="PUT", expires_in=timedelta(minutes=1), length=-1)
    with pytest.raises(ValueError, match="length"):
        await blobs.signed_url("a.jpg", method="GET", expires_in=timedelta(minutes=1), length=4)
    url = httpx.URL(await blobs.signed_url("a b/ü.jpg", expires_in=timedelta(days=7)))
    assert url.path.endswith("/a b/ü.jpg")


async def test_a_sign_of_life(blobs: Blobs) -> None:
    await blobs.ping()
    assert [found async for found in blobs.list()] == []


async def test_a_second_store_sees_the_same_objects(blobs: Blobs, settings: PlatformSettings) -> None:
    other = open_blobs(settings)
    await blobs.put("a.txt", b"shared", media_type="text/plain")
    assert await other.get("a.txt") == b"shared"
    await other.close()
