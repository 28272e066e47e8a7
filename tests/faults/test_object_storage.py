"""S3 that cannot be reached, does not answer, or is slow: clear refusals, readiness that says so, recovery without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import obstore
import pytest
from obstore.store import S3Store

from trenza.chassis.testing.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from tests.conftest import S3Server
    from tests.faults.conftest import MakeInstallation

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture
async def proxy(s3_server: S3Server) -> AsyncIterator[TcpProxy]:
    """A proxy before the S3 server."""
    place = urlsplit(s3_server.endpoint)
    async with TcpProxy.before(place.hostname or "", place.port or 0) as proxy:
        yield proxy


@pytest.mark.timeout(300)
async def test_s3_that_comes_and_goes(
    proxy: TcpProxy, s3_server: S3Server, make_installation: MakeInstallation, make_photo: Callable[[], bytes]
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
        await proxy.refuse()
        answers: list[httpx.Response] = await asyncio.gather(*(installation.send(client, make_photo()) for _ in range(3)))
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (503, "BLOBS_UNAVAILABLE"), answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            assert str(proxy.port) not in answer.text
        await installation.until_failing(client, "objects")
        assert (await client.get(f"/api/photos/{first['id']}")).json()["status"] == "completed"
        await proxy.listen()
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
    stored = {found["path"] for batch in obstore.list(store, "photos") for found in batch}
    assert {key.split("/")[2] for key in stored} >= {photo["id"] for photo in photos}
    assert len([key for key in stored if key.split("/")[2] in {photo["id"] for photo in photos}]) == 5 * len(photos)
