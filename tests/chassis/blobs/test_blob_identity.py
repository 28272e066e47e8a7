"""What tells one object store from another: made once by whoever comes first, carried along by a copy, asked for at a start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from trenza.chassis.blobs import Blobs, BlobsUnavailable, open_blobs
from trenza.chassis.blobs.identity import MARKER, UnreadableIdentity
from trenza.chassis.settings import PlatformSettings

if TYPE_CHECKING:
    from tests.conftest import S3Server


async def test_a_store_has_none_before_it_is_made_and_then_keeps_it(blobs: Blobs, settings: PlatformSettings) -> None:
    assert await blobs.identity() is None
    made = await blobs.make_identity()
    assert await blobs.identity() == made
    assert await blobs.make_identity() == made
    again = open_blobs(settings)
    assert await again.make_identity() == made
    await again.close()


async def test_all_who_come_first_at_once_get_the_same(settings: PlatformSettings) -> None:
    stores = [open_blobs(settings) for _ in range(12)]
    made = await asyncio.gather(*(store.make_identity() for store in stores))
    assert len(set(made)) == 1
    assert [found.key async for found in stores[0].list()] == [MARKER]
    assert await asyncio.gather(*(store.identity() for store in stores)) == made
    for store in stores:
        await store.close()


@pytest.mark.xdist_group("s3")
async def test_a_copy_of_all_objects_carries_it_along(local_blobs: Blobs, s3_blobs: Blobs) -> None:
    await local_blobs.put("photos/a.jpg", b"pixels", media_type="image/jpeg")
    made = await local_blobs.make_identity()
    async for found in local_blobs.list():
        await s3_blobs.put(found.key, await local_blobs.get(found.key), media_type=found.media_type)
    assert await s3_blobs.identity() == made


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"trenza", b"5b0f4a5e-4d0c-5b5e-9a39-4d6c7d7f4f61" * 2])
async def test_what_is_no_identity_is_told_as_such(blobs: Blobs, content: bytes) -> None:
    await blobs.put(MARKER, content, media_type="text/plain")
    for ask in (blobs.identity, blobs.make_identity):
        with pytest.raises(UnreadableIdentity, match="holds no UUID"):
            await ask()
    blobs.expect(uuid4())
    with pytest.raises(BlobsUnavailable, match="not the object store"):
        await blobs.ping()


async def test_nothing_is_served_before_the_expected_store_has_shown_itself(
    blobs: Blobs, settings: PlatformSettings, spooled: Callable[[bytes], Path]
) -> None:
    await blobs.put("a.jpg", b"pixels", media_type="image/jpeg")
    path = spooled(b"mine")
    expected = uuid4()
    blobs.expect(expected)
    operations: list[Callable[[], Awaitable[object]]] = [
        blobs.ping,
        lambda: blobs.get("a.jpg"),
        lambda: blobs.read_range("a.jpg", 0, 1),
        lambda: anext(aiter(blobs.stream("a.jpg"))),
        lambda: anext(aiter(blobs.list())),
        lambda: blobs.stat("a.jpg"),
        lambda: blobs.put("a.jpg", b"other", media_type="image/jpeg"),
        lambda: blobs.put_file("a.jpg", path, media_type="image/jpeg"),
        lambda: blobs.delete("a.jpg"),
        lambda: blobs.as_file("a.jpg").__aenter__(),
    ]
    for operate in operations:
        with pytest.raises(BlobsUnavailable, match="not the object store that the databases belong to"):
            await operate()
    assert blobs.local_path("a.jpg") is None
    assert path.read_bytes() == b"mine"

    other = open_blobs(settings)
    assert await other.get("a.jpg") == b"pixels"
    await other.put(MARKER, str(expected).encode(), media_type="text/plain")
    await other.close()
    assert await blobs.get("a.jpg") == b"pixels"
    assert (blobs.local_path("a.jpg") is None) == (settings.blobs_url is not None)


@asynccontextmanager
async def without_conditional_writes(server: S3Server) -> AsyncIterator[str]:
    """A server that answers as those do that know no `If-None-Match`, before the real one; its endpoint."""
    place = urlsplit(server.endpoint)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if b"\r\nif-none-match: *" in head.lower():
                writer.write(b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
                writer.close()
                return
            there, back = await asyncio.open_connection(place.hostname, place.port)
            # One request a connection: the next one's head is looked at as well.
            back.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            await asyncio.gather(pump(reader, back), pump(there, writer))

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@pytest.mark.xdist_group("s3")
async def test_a_server_without_conditional_writes_keeps_one_as_well(
    s3_server: S3Server, s3_settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with without_conditional_writes(s3_server) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        blobs = open_blobs(s3_settings)
        made = await blobs.make_identity()
        assert isinstance(made, UUID)
        assert await blobs.make_identity() == made
        await blobs.close()
