"""Renditions are stored all or none, and a worker's word is not taken for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from trenza.chassis.blobs import Blobs, BlobStat, BlobsUnavailable
from trenza.chassis.blobs.local import LocalBlobs
from trenza.chassis.blobs.signatures import UrlSigner
from trenza.chassis.telemetry.metrics import registry
from trenza.chassis.testing.pictures import encoded, marked, phone_photo
from trenza.services.images.contract import InvalidImageFormat, ProcessingFailed, Rendition
from trenza.services.images.service import ImageEngine
from trenza.services.images.verification import check_outputs

Put = Callable[[bytes], Awaitable[str]]
MakeEngine = Callable[..., ImageEngine]


class TroubledBlobs(LocalBlobs):
    """A local store that looks remote to readers, cannot store one key, and can be held up while storing."""

    def __init__(self, folder: Path, *, refused: str = "") -> None:
        super().__init__(
            folder / "blobs", spool=folder / "spool", url_signer=UrlSigner(bytes(32), public_url="http://127.0.0.1:8000")
        )
        self.refused = refused
        self.reads: list[tuple[int, int]] = []
        self.storing = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    def local_path(self, key: str) -> Path | None:  # noqa: ARG002 - nothing is local here
        return None

    async def read_range(self, key: str, start: int, length: int) -> bytes:
        self.reads.append((start, length))
        return await super().read_range(key, start, length)

    async def put_file(self, key: str, path: Path, *, media_type: str) -> BlobStat:
        self.storing.set()
        await self.go_on.wait()
        if key == self.refused:
            raise BlobsUnavailable("the store is full")
        return await super().put_file(key, path, media_type=media_type)


@pytest.fixture
async def troubled(tmp_path: Path) -> AsyncIterator[TroubledBlobs]:
    blobs = TroubledBlobs(tmp_path / "remote")
    yield blobs
    await blobs.close()


async def stored(blobs: Blobs) -> list[str]:
    return sorted([stat.key async for stat in blobs.list("out")])


async def test_when_one_cannot_be_stored_none_stays(
    make_engine: MakeEngine, troubled: TroubledBlobs, presets: tuple[Rendition, ...]
) -> None:
    await troubled.put("in/source", phone_photo(400, 300), media_type="image/jpeg")
    engine = make_engine(troubled)
    troubled.refused = presets[2].key
    with pytest.raises(BlobsUnavailable):
        await engine.render(source="in/source", renditions=presets)
    assert await stored(troubled) == []
    assert await asyncio.to_thread(list, troubled.new_spool_file().parent.iterdir()) == []
    troubled.refused = ""
    await engine.render(source="in/source", renditions=presets)
    assert await stored(troubled) == sorted(preset.key for preset in presets)


async def test_cancelled_while_storing_leaves_whole_files(
    make_engine: MakeEngine, troubled: TroubledBlobs, presets: tuple[Rendition, ...]
) -> None:
    await troubled.put("in/source", phone_photo(400, 300), media_type="image/jpeg")
    troubled.go_on.clear()
    task = asyncio.create_task(make_engine(troubled).render(source="in/source", renditions=presets))
    await troubled.storing.wait()
    task.cancel()
    await asyncio.sleep(0)
    troubled.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stored(troubled) == sorted(preset.key for preset in presets)


async def test_remote_headers_are_read_by_ranges(make_engine: MakeEngine, troubled: TroubledBlobs) -> None:
    engine = make_engine(troubled)
    data = phone_photo(4000, 3000, orientation=1)
    await troubled.put("in/source", data, media_type="image/jpeg")
    assert (await engine.inspect(source="in/source")).width == 4000
    assert troubled.reads == [(0, min(len(data), 65536))]
    await troubled.put("in/source", b"nothing of the kind", media_type="image/jpeg")
    with pytest.raises(InvalidImageFormat, match="it is a text"):
        await engine.inspect(source="in/source")


async def test_no_spool_file_is_left_after_a_refusal(
    engine: ImageEngine, put: Put, presets: tuple[Rendition, ...], tmp_path: Path
) -> None:
    data = phone_photo(400, 300)
    with pytest.raises(InvalidImageFormat):
        await engine.render(source=await put(data[: len(data) // 2]), renditions=presets)
    assert await asyncio.to_thread(lambda: [path for path in (tmp_path / "data" / "spool").rglob("*") if path.is_file()]) == []


async def test_outcomes_are_counted_and_timed(engine: ImageEngine, put: Put) -> None:
    def count(status: str) -> float:
        labels = {"operation_type": "render", "status": status}
        return registry().get_sample_value("images_processed_total", labels) or 0

    def timed() -> float:
        return registry().get_sample_value("image_processing_duration_seconds_count", {"operation_type": "render"}) or 0

    before = count("success"), count("refused"), timed()
    await engine.render(source=await put(phone_photo(40, 30)), renditions=())
    with pytest.raises(InvalidImageFormat):
        await engine.render(source=await put(b"no image"), renditions=())
    assert (count("success"), count("refused"), timed()) == (before[0] + 1, before[1] + 1, before[2] + 2)


def test_what_a_worker_left_is_checked(tmp_path: Path) -> None:
    order = (Rendition(name="a", key="out/a.jpg", width=60, height=60),)
    secret, output = tmp_path / "secret.jpg", tmp_path / "output.jpg"
    secret.write_bytes(encoded(marked(60, 45), "JPEG"))

    def refuse(reason: str, *, told: tuple[int, int] = (60, 45)) -> None:
        with pytest.raises(ProcessingFailed, match=reason):
            check_outputs(order, [output], (told,))

    refuse("left no image")
    output.symlink_to(secret)
    refuse("did not write 'a' as a file")
    output.unlink()
    output.write_bytes(b"<html>")
    refuse("left no image")
    output.write_bytes(encoded(marked(60, 45), "PNG"))
    refuse("another image")
    output.write_bytes(encoded(marked(70, 45), "JPEG"))
    refuse("another image", told=(70, 45))
    output.write_bytes(secret.read_bytes())
    refuse("another image", told=(45, 60))
    check_outputs(order, [output], ((60, 45),))
    with pytest.raises(ProcessingFailed, match="other renditions"):
        check_outputs(order, [output], ())
