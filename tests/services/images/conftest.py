"""The image engine over a local object store in the test's own folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from trenza.chassis.blobs import Blobs, open_blobs
from trenza.chassis.service import Resources
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing import ManualClock
from trenza.services.images.contract import Rendition
from trenza.services.images.service import ImageEngine
from trenza.services.images.settings import ImagesSettings

MakeEngine = Callable[..., ImageEngine]
Put = Callable[[bytes], Awaitable[str]]

PHOTO_PRESETS = (
    Rendition(name="thumbnail", key="out/thumbnail.jpg", width=320, height=320, fit="cover", quality=75),
    Rendition(name="small", key="out/small.jpg", width=640, height=640, quality=75),
    Rendition(name="medium", key="out/medium.jpg", width=1280, height=1280, quality=72),
    Rendition(name="large", key="out/large.jpg", width=2048, height=2048, quality=82),
)


@pytest.fixture
def presets() -> tuple[Rendition, ...]:
    """The four versions of a photograph, as the specification has them."""
    return PHOTO_PRESETS


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[Blobs]:
    """An object store in a folder."""
    blobs = open_blobs(PlatformSettings(data_dir=tmp_path / "data"))
    yield blobs
    await blobs.close()


@pytest.fixture
def put(blobs: Blobs) -> Put:
    """Store a source and return its key."""

    async def put(data: bytes) -> str:
        stat = await blobs.put("in/source", data, media_type="application/octet-stream")
        return stat.key

    return put


@pytest.fixture
async def make_engine(blobs: Blobs, clock: ManualClock, tmp_path: Path) -> AsyncIterator[MakeEngine]:
    """Make engines with settings of the test's choice; their workers end with the test."""
    engines: list[ImageEngine] = []

    def make(store: Blobs | None = None, **settings: Any) -> ImageEngine:
        resources = Resources(
            # Limits of time are meant for a worker that runs: beside other tests, one that steps back may wait for long.
            settings=ImagesSettings(**{"workers": 1, "niceness": 0, **settings}),
            platform=PlatformSettings(data_dir=tmp_path / "data"),
            # The engine has no database, no tasks, and calls nobody.
            database=cast("Any", None),
            blobs=store or blobs,
            tasks=cast("Any", None),
            clock=clock,
            call=cast("Any", None),
        )
        engines.append(ImageEngine(resources))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.workers.close()


@pytest.fixture
def engine(make_engine: MakeEngine) -> ImageEngine:
    """An engine with one worker and the default limits."""
    return make_engine()
