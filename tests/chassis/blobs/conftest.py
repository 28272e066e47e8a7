"""Object stores for tests: a local folder, and a bucket of a real S3 server that is started when first asked for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from trenza.chassis.blobs import Blobs, open_blobs
from trenza.chassis.settings import PlatformSettings

if TYPE_CHECKING:
    from tests.conftest import S3Server


@pytest.fixture
def s3_settings(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlatformSettings:
    """Settings for a fresh prefix of the bucket, with AWS_* in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return PlatformSettings(data_dir=tmp_path / "data", blobs_url=f"s3://{s3_server.bucket}/some/{uuid4().hex}")


@pytest.fixture
def local_settings(tmp_path: Path) -> PlatformSettings:
    """Settings for a local folder."""
    return PlatformSettings(data_dir=tmp_path / "data", public_url="https://photos.example")


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.xdist_group("s3"))])
def settings(request: pytest.FixtureRequest) -> PlatformSettings:
    """Settings for each kind of store in turn."""
    found: PlatformSettings = request.getfixturevalue(f"{request.param}_settings")
    return found


@pytest.fixture
async def blobs(settings: PlatformSettings) -> AsyncIterator[Blobs]:
    """Each kind of store in turn."""
    opened = open_blobs(settings)
    yield opened
    await opened.close()


@pytest.fixture
async def local_blobs(local_settings: PlatformSettings) -> AsyncIterator[Blobs]:
    """A store in a local folder."""
    opened = open_blobs(local_settings)
    yield opened
    await opened.close()


@pytest.fixture
async def s3_blobs(s3_settings: PlatformSettings) -> AsyncIterator[Blobs]:
    """A store in a bucket."""
    opened = open_blobs(s3_settings)
    yield opened
    await opened.close()


@pytest.fixture
def spooled(blobs: Blobs) -> Callable[[bytes], Path]:
    """Makes a spool file of the store with the given content."""

    def make(data: bytes) -> Path:
        path = blobs.new_spool_file(".bin")
        path.write_bytes(data)
        return path

    return make
