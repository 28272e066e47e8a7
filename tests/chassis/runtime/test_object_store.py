"""Every database belongs to the object store of its first start, however many processes make that start at once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import sqlalchemy as sa

from trenza import Contract, Resources, Service, Task, handles
from trenza.chassis.blobs import BlobsUnavailable
from trenza.chassis.blobs.identity import MARKER, UnreadableIdentity
from trenza.chassis.runtime import object_store
from trenza.chassis.runtime.application import assemble
from trenza.chassis.runtime.object_store import ForeignObjectStore, SilentObjectStore
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from tests.conftest import S3Server

    from trenza.chassis.runtime.assembly import Assembly


class North(Contract, service="north"): ...


class South(Contract, service="south"): ...


class NorthDesk(North):
    def __init__(self, resources: Resources[Any]) -> None: ...


class SouthDesk(South):
    def __init__(self, resources: Resources[Any]) -> None: ...


class Look(Task, type="north.Look"): ...


class Listen(Task, type="south.Listen"): ...


@handles(Look)
async def look(_desk: NorthDesk, _task: Look, _delivery: Any) -> None: ...


@handles(Listen)
async def listen(_desk: SouthDesk, _task: Listen, _delivery: Any) -> None: ...


NORTH = Service(contract=North, implementation=NorthDesk, handlers=(look,))
SOUTH = Service(contract=South, implementation=SouthDesk, handlers=(listen,))
NOTED = sa.text("SELECT identity FROM object_store")


@asynccontextmanager
async def started(settings: PlatformSettings, *services: Service) -> AsyncIterator[Assembly]:
    app = assemble(services or (NORTH, SOUTH), settings)
    async with app.router.lifespan_context(app):
        yield app.state.assembly


async def start_and_stop(settings: PlatformSettings, *services: Service) -> None:
    async with started(settings, *services):
        pass


async def forget(assembly: Assembly, *services: str) -> None:
    """Let databases be as an earlier release left them."""
    for service in services:
        async with assembly.databases[service].work() as work:
            assert (await work.execute(sa.text("DELETE FROM object_store"))).rowcount == 1


@pytest.fixture
def folder(tmp_path: Path, postgres_url: str) -> Callable[[str], PlatformSettings]:
    """The settings of a server with an object folder of its own, all of them on one PostgreSQL."""
    return lambda name: PlatformSettings(data_dir=tmp_path / name, database_url=postgres_url)


async def test_the_first_start_notes_the_store_and_another_is_refused(folder: Callable[[str], PlatformSettings]) -> None:
    await start_and_stop(folder("one"))
    with pytest.raises(ForeignObjectStore) as refusal:
        await start_and_stop(folder("other"))
    said = str(refusal.value)
    assert said.startswith(
        f"the databases of north, south belong to another object store than {folder('other').data_dir}/blobs: "
    )
    assert "set TRENZA_BLOBS_URL, or for a local folder --data-dir" in said
    assert "run `trenza objects adopt`" in said
    assert "\n" not in said
    assert not (folder("other").data_dir / "blobs" / MARKER).exists()  # it is left as it was
    await start_and_stop(folder("one"))


async def migrated(settings: PlatformSettings) -> None:
    """Make the databases; to migrate at the same moment is for processes, and tested in test_migrations.py."""
    async with started(settings) as assembly:
        await forget(assembly, "north", "south")


async def test_of_many_first_starts_at_once_one_store_gets_all_databases(folder: Callable[[str], PlatformSettings]) -> None:
    await migrated(folder("before"))
    places = [folder(str(number)) for number in range(6)]
    ends = await asyncio.gather(*(start_and_stop(place) for place in places), return_exceptions=True)
    assert [end for end in ends if not isinstance(end, ForeignObjectStore)] == [None], ends
    winner = places[ends.index(None)]
    await start_and_stop(winner)
    for place in places:
        if place is not winner:
            with pytest.raises(ForeignObjectStore):
                await start_and_stop(place)


async def test_many_first_starts_on_one_store_all_succeed(folder: Callable[[str], PlatformSettings]) -> None:
    await migrated(folder("before"))
    await asyncio.gather(*(start_and_stop(folder("one")) for _ in range(6)))
    await start_and_stop(folder("one"))


async def test_a_database_without_a_note_takes_the_present_store(folder: Callable[[str], PlatformSettings]) -> None:
    async with started(folder("one")) as assembly:
        made = await assembly.blobs.identity()
        await forget(assembly, "north", "south")
    async with started(folder("other")) as assembly:
        other = await assembly.blobs.identity()
        assert other not in (None, made)
        for database in assembly.databases.values():
            async with database.read() as connection:
                assert str(await connection.scalar(NOTED)) == str(other)
        await forget(assembly, "south")
    with pytest.raises(ForeignObjectStore, match=r"^the database of north belongs to another"):
        await start_and_stop(folder("one"))
    with pytest.raises(ForeignObjectStore, match=r"^the database of north belongs to another"):
        await start_and_stop(folder("third"))
    await start_and_stop(folder("other"))


async def test_a_service_that_is_added_belongs_to_the_store_of_the_others(folder: Callable[[str], PlatformSettings]) -> None:
    await start_and_stop(folder("one"), NORTH)
    with pytest.raises(ForeignObjectStore, match=r"^the database of north belongs to another"):
        await start_and_stop(folder("other"), NORTH, SOUTH)
    await start_and_stop(folder("one"), NORTH, SOUTH)
    with pytest.raises(ForeignObjectStore, match=r"^the database of south belongs to another"):
        await start_and_stop(folder("other"), SOUTH)


async def test_a_store_that_has_lost_its_identity_is_another(folder: Callable[[str], PlatformSettings]) -> None:
    await start_and_stop(folder("one"))
    marker = folder("one").data_dir / "blobs" / MARKER
    content = marker.read_bytes()
    marker.unlink()
    with pytest.raises(ForeignObjectStore):
        await start_and_stop(folder("one"))
    marker.write_text("something else")
    with pytest.raises(UnreadableIdentity, match="holds no UUID: put the right one back, or remove it"):
        await start_and_stop(folder("one"))
    marker.write_bytes(content)
    await start_and_stop(folder("one"))


async def test_a_data_folder_moves_as_a_whole(folder: Callable[[str], PlatformSettings]) -> None:
    await start_and_stop(folder("here"))
    await asyncio.to_thread(shutil.copytree, folder("here").data_dir, folder("there").data_dir)
    await start_and_stop(folder("there"))


async def test_a_process_without_databases_asks_for_nothing(folder: Callable[[str], PlatformSettings]) -> None:
    await start_and_stop(folder("one"), replace(NORTH, handlers=()))
    assert not (folder("one").data_dir / "blobs" / MARKER).exists()


async def test_a_store_that_cannot_tell_is_not_taken(
    folder: Callable[[str], PlatformSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(name, value)
    silent = folder("one").model_copy(update={"blobs_url": "s3://bucket"})
    with pytest.raises(SilentObjectStore) as refusal:
        await start_and_stop(silent)
    said = str(refusal.value)
    assert said.startswith("the object store s3://bucket cannot be asked which it is (the object storage did not answer as it")
    assert said.endswith("check TRENZA_BLOBS_URL and AWS_*, or the permissions of the data folder, and start again")


@pytest.fixture
async def line(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TcpProxy]:
    """The line to the S3 server of AWS_* in the environment."""
    place = urlsplit(s3_server.endpoint)
    async with TcpProxy.before(place.hostname or "", place.port or 0) as proxy:
        for name, value in {**s3_server.environment(), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}.items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.mark.xdist_group("s3")
async def test_a_start_without_its_bucket_serves_objects_once_that_is_there_and_the_right_one(
    line: TcpProxy, s3_server: S3Server, tmp_path: Path
) -> None:
    """A part that fails costs its own features: the rest of the platform starts without the object storage."""
    right = PlatformSettings(data_dir=tmp_path / "data", blobs_url=f"s3://{s3_server.bucket}/{uuid4().hex}")
    wrong = right.model_copy(update={"blobs_url": f"{right.blobs_url}-other"})
    async with started(right) as assembly:
        await assembly.blobs.put("a.txt", b"kept", media_type="text/plain")
    await line.refuse()
    async with started(right) as assembly:
        with pytest.raises(BlobsUnavailable):
            await assembly.blobs.ping()
        await line.listen()
        assert await assembly.blobs.get("a.txt") == b"kept"
        await assembly.blobs.ping()
    await line.refuse()
    async with started(wrong) as assembly:
        await line.listen()
        for _ in range(2):
            with pytest.raises(BlobsUnavailable, match="not the object store that the databases belong to"):
                await assembly.blobs.put("a.txt", b"lost", media_type="text/plain")
    with pytest.raises(ForeignObjectStore, match=f"than {wrong.blobs_url}: "):
        await start_and_stop(wrong)


@pytest.mark.xdist_group("s3")
async def test_a_bucket_that_stalls_holds_no_start_up_for_long(
    line: TcpProxy, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "ANSWER_SECONDS", 0.5)
    settings = PlatformSettings(data_dir=tmp_path / "data", blobs_url=f"s3://{s3_server.bucket}/{uuid4().hex}")
    line.stall()
    with pytest.raises(SilentObjectStore, match=r"which it is \(no answer within 0.5 s\)"):
        await start_and_stop(settings)
    line.flow()
    await start_and_stop(settings)
    line.stall()
    async with started(settings) as assembly:
        line.flow()
        await assembly.blobs.ping()
