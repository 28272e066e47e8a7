"""Servers as real processes on one database: with different object stores only one of them starts, and a store can be moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.blobs import open_blobs
from trenza.chassis.blobs.identity import MARKER
from trenza.chassis.runtime.signing import signing_key
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.server_process import EndedEarly, ServerProcess, run_trenza

if TYPE_CHECKING:
    from tests.conftest import S3Server

MakePhoto = Callable[[str], Path]


class Editor:
    """Somebody who works with one server."""

    def __init__(self, server: ServerProcess, key: Path | None = None) -> None:
        """``key`` signs the tokens where it is not that of the data folder."""
        signed_by = signing_key(PlatformSettings(data_dir=server.data_dir, signing_key_file=key))
        token = issue_token(signed_by, "ana", ("photos:editor",), timedelta(hours=1))
        self._options: dict[str, Any] = {"base_url": server.url, "headers": {"Authorization": f"Bearer {token}"}}

    @property
    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._options, trust_env=False, timeout=60, follow_redirects=True)

    async def upload(self, photo: Path) -> str:
        """The id of a photo, once it is completed."""
        content = await asyncio.to_thread(photo.read_bytes)
        files, headers = {"file": content}, {"Prefer": "wait=50"}
        async with self._client as client:
            answer = await client.post("/api/photos/upload", files=files, data={"upid": "UP-1"}, headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (201, "completed"), answer.text
        photo_id: str = answer.json()["id"]
        return photo_id

    async def has_whole(self, photo_id: str) -> bool:
        """Whether the photo and a version of it can be had."""
        async with self._client as client:
            answers = [await client.get(f"/api/photos/{photo_id}/{version}") for version in ("original", "large")]
        return [answer.status_code for answer in answers] == [200, 200]


async def refusal(data_dir: Path, environment: Mapping[str, str]) -> str:
    """The one line with which a start is refused."""
    with pytest.raises(EndedEarly) as ended:
        async with ServerProcess.running(data_dir, environment=environment):
            pass
    assert ended.value.code == 1
    lines = [line for line in str(ended.value).splitlines() if line.startswith("trenza: ")]
    assert len(lines) == 1, str(ended.value)
    assert "Traceback" not in str(ended.value)
    return lines[0]


async def test_a_second_server_with_objects_of_its_own_is_refused(
    tmp_path: Path, postgres_url: str, make_photo: MakePhoto
) -> None:
    """It would claim tasks whose photos it does not have, and fail them."""
    environment = {"TRENZA_DATABASE_URL": postgres_url}
    other = tmp_path / "other"
    async with ServerProcess.running(tmp_path / "one", environment=environment) as server:
        said = await refusal(other, environment)
        assert said.startswith(f"trenza: the database of photos belongs to another object store than {other}/blobs: set")
        code, out, _ = await run_trenza("doctor", "--data-dir", str(other), environment=environment)
        assert code == 1
        (finding,) = [line for line in out.splitlines() if line.startswith("fail")]
        assert "the database of photos belongs to another object store" in finding
        editor = Editor(server)
        assert await editor.has_whole(await editor.upload(make_photo("a.jpg")))
        code, out, _ = await run_trenza("doctor", "--data-dir", str(server.data_dir), environment=environment)
        assert (code, "fail" in out) == (0, False), out


async def test_of_two_first_starts_with_two_folders_one_serves(tmp_path: Path, postgres_url: str, make_photo: MakePhoto) -> None:
    environment = {"TRENZA_DATABASE_URL": postgres_url}
    async with AsyncExitStack() as stack:
        starts = [ServerProcess.running(tmp_path / name, environment=environment) for name in ("one", "two")]
        ends = await asyncio.gather(*(stack.enter_async_context(start) for start in starts), return_exceptions=True)
        serving = [end for end in ends if isinstance(end, ServerProcess)]
        refused = [end for end in ends if isinstance(end, EndedEarly)]
        assert (len(serving), len(refused)) == (1, 1), ends
        assert "belongs to another object store" in str(refused[0])
        editor = Editor(serving[0])
        assert await editor.has_whole(await editor.upload(make_photo("a.jpg")))


@pytest.mark.xdist_group("s3")
async def test_two_first_starts_on_one_bucket_both_serve(
    tmp_path: Path, postgres_url: str, s3_server: S3Server, make_photo: MakePhoto
) -> None:
    key = tmp_path / "signing.pem"
    SigningKey.load_or_create(key)
    environment = {
        **s3_server.environment(),
        "TRENZA_DATABASE_URL": postgres_url,
        "TRENZA_BLOBS_URL": f"s3://{s3_server.bucket}/{uuid4().hex}",
        "TRENZA_SIGNING_KEY_FILE": str(key),
    }
    async with AsyncExitStack() as stack:
        starts = [ServerProcess.running(tmp_path / name, environment=environment) for name in ("one", "two")]
        servers = await asyncio.gather(*(stack.enter_async_context(start) for start in starts))
        editors = [Editor(server, key) for server in servers]
        photos = await asyncio.gather(*(editors[n % 2].upload(make_photo(f"{n}.jpg")) for n in range(8)))
        for photo in photos:
            assert [await editor.has_whole(photo) for editor in editors] == [True, True]


@pytest.mark.xdist_group("s3")
async def test_the_objects_move_to_a_bucket(
    tmp_path: Path, s3_server: S3Server, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / "data"
    async with ServerProcess.running(data_dir) as server:
        photo = await Editor(server).upload(make_photo("a.jpg"))
    bucket = f"s3://{s3_server.bucket}/{uuid4().hex}"
    environment = {**s3_server.environment(), "TRENZA_BLOBS_URL": bucket}
    said = await refusal(data_dir, environment)
    assert said.startswith(f"trenza: the database of photos belongs to another object store than {bucket}: set TRENZA_BLOBS_URL")

    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    here, there = (open_blobs(PlatformSettings(data_dir=data_dir, blobs_url=url)) for url in (None, bucket))
    async for found in here.list():
        await there.put(found.key, await here.get(found.key), media_type=found.media_type)
    async with ServerProcess.running(data_dir, environment=environment) as server:
        assert await Editor(server).has_whole(photo)

    # Another copy, by somebody who left the marker behind.
    elsewhere = {**environment, "TRENZA_BLOBS_URL": f"{bucket}-again"}
    again = open_blobs(PlatformSettings(data_dir=data_dir, blobs_url=elsewhere["TRENZA_BLOBS_URL"]))
    async for found in here.list("photos"):
        await again.put(found.key, await here.get(found.key), media_type=found.media_type)
    assert "run `trenza objects adopt`" in await refusal(data_dir, elsewhere)
    adopting = ("objects", "adopt", "--data-dir", str(data_dir))
    code, _, err = await run_trenza(*adopting, environment=elsewhere)
    assert (code, err) == (2, "trenza: adopt needs --yes where nobody can be asked\n")
    code, out, err = await run_trenza(*adopting, "--yes", environment=elsewhere)
    assert (code, out) == (0, f"photos: belongs now to {bucket}-again\n"), err
    code, out, _ = await run_trenza(*adopting, "--yes", environment=elsewhere)
    assert (code, out) == (0, f"photos: belonged already to {bucket}-again\n")
    async with ServerProcess.running(data_dir, environment=elsewhere) as server:
        assert await Editor(server).has_whole(photo)
    assert "belongs to another" in await refusal(data_dir, environment)
    for blobs in (here, there, again):
        await blobs.close()


async def test_nothing_is_adopted_for_databases_that_are_not_there(tmp_path: Path) -> None:
    code, _, err = await run_trenza("objects", "adopt", "--yes", "--data-dir", str(tmp_path / "data"))
    assert code == 1
    assert "photos has no database at" in err
    assert not (tmp_path / "data" / "blobs" / MARKER).exists()
