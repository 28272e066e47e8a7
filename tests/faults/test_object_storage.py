"""S3 that cannot be reached, does not answer, or is slow: clear refusals, readiness that says so, recovery without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import obstore
import pytest
from obstore.store import S3Store

from trenza.chassis.testing.server_process import free_port

if TYPE_CHECKING:
    from tests.conftest import S3Server
    from tests.faults.conftest import MakeInstallation

pytestmark = pytest.mark.xdist_group("s3")

CHUNK = 16 * 1024


class Proxy:
    """A TCP proxy on loopback whose line can be cut, stalled and throttled."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self.port = free_port()
        self.seconds_a_chunk = 0.0
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._lines: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Refuse connections, and end those that there are."""
        if self._server is not None:
            self._server.close()
            for line in self._lines:
                line.transport.abort()
            await self._server.wait_closed()

    def stall(self) -> None:
        """Take connections and bytes, and pass nothing on."""
        self._flowing.clear()

    def flow(self) -> None:
        """Pass everything on again, what was held back first."""
        self._flowing.set()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        self._lines |= {writer, back}
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            self._lines -= {writer, back}
            writer.close()
            back.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # cut, or closed by one of the two: the other learns of it by the end of its line
            while data := await reader.read(CHUNK):
                await self._flowing.wait()
                await asyncio.sleep(self.seconds_a_chunk)
                writer.write(data)
                await writer.drain()
        with suppress(OSError, RuntimeError):  # it is gone already
            writer.write_eof()


@pytest.fixture
async def proxy(s3_server: S3Server) -> AsyncIterator[Proxy]:
    """A proxy before the S3 server."""
    proxy = Proxy(s3_server.endpoint)
    await proxy.mend()
    yield proxy
    proxy.flow()
    await proxy.cut()


@pytest.mark.timeout(300)
async def test_s3_that_comes_and_goes(
    proxy: Proxy, s3_server: S3Server, make_installation: MakeInstallation, make_photo: Callable[[], bytes]
) -> None:
    prefix = uuid4().hex
    endpoint = f"http://127.0.0.1:{proxy.port}"
    storage = {**s3_server.environment(), "AWS_ENDPOINT_URL": endpoint}
    installation = make_installation(TRENZA_BLOBS_URL=f"s3://{s3_server.bucket}/{prefix}", **storage)
    async with installation.serving() as server, installation.client(server) as client:
        first = (await installation.send(client, make_photo(), Prefer="wait=60")).json()
        assert first["status"] == "completed"

        for _ in range(4):  # these have yet to be rendered when the line is cut
            assert (await installation.send(client, make_photo())).status_code == 202
        await proxy.cut()
        answers: list[httpx.Response] = await asyncio.gather(*(installation.send(client, make_photo()) for _ in range(3)))
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (503, "BLOBS_UNAVAILABLE"), answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            assert str(proxy.port) not in answer.text
        await installation.until_failing(client, "objects")
        assert (await client.get(f"/api/photos/{first['id']}")).json()["status"] == "completed"
        await proxy.mend()
        await installation.until_failing(client)
        await installation.completed(client)

        proxy.stall()
        late = asyncio.create_task(installation.send(client, make_photo()))
        await installation.until_failing(client, "objects")
        assert not late.done()
        proxy.flow()
        assert (await late).status_code == 202
        await installation.until_failing(client)

        proxy.seconds_a_chunk = 0.05  # some 300 KB a second
        slow = await asyncio.gather(*(installation.send(client, make_photo(), Prefer="wait=60") for _ in range(3)))
        assert {answer.status_code for answer in slow} == {201}
        proxy.seconds_a_chunk = 0.0
        await installation.completed(client)
        assert not any(path.is_file() for path in (installation.data_dir / "spool").rglob("*"))
    photos = await installation.prove_effects()
    store = S3Store(
        s3_server.bucket,
        prefix=prefix,
        endpoint=s3_server.endpoint,
        access_key_id=storage["AWS_ACCESS_KEY_ID"],
        secret_access_key=storage["AWS_SECRET_ACCESS_KEY"],
        region=storage["AWS_REGION"],
        client_options={"allow_http": True},
    )
    stored = {found["path"] for batch in obstore.list(store) for found in batch}
    assert {key.split("/")[2] for key in stored} >= {photo["id"] for photo in photos}
    assert len([key for key in stored if key.split("/")[2] in {photo["id"] for photo in photos}]) == 5 * len(photos)
