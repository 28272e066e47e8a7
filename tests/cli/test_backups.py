"""Backup of a running server, and restore into another folder."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import subprocess
import sys
import tarfile
import textwrap
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import Result

from trenza.chassis.testing.server_process import ServerProcess

Trenza = Callable[..., Result]


async def upload(server: ServerProcess, photo: Path, token: str) -> dict[str, str]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
        content = await asyncio.to_thread(photo.read_bytes)
        headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=50"}
        answer = await client.post("/api/photos/upload", files={"file": content}, data={"upid": "UP-1"}, headers=headers)
        assert answer.status_code == 201, answer.text
        record: dict[str, str] = answer.json()
        return record


async def test_what_is_backed_up_while_it_runs_is_all_there_again(
    trenza: Trenza, server: ServerProcess, make_photo: Callable[[str], Path], tmp_path: Path
) -> None:
    token = await server.token("photos:editor")
    before = [await upload(server, make_photo(f"{number}.jpg"), token) for number in range(3)]
    file = tmp_path / "trenza.tar"
    going_on = asyncio.create_task(upload(server, make_photo("later.jpg"), token))
    made = await asyncio.to_thread(trenza, "backup", file, "--data-dir", server.data_dir)
    assert made.exit_code == 0, made.stderr
    assert "2 databases" in made.stdout or "1 database" in made.stdout
    assert (file.stat().st_mode & 0o777) == 0o600
    await going_on

    refused = await asyncio.to_thread(trenza, "restore", file, "--data-dir", server.data_dir)
    assert refused.exit_code == 1
    assert f"is in use by process {server.process_id}" in refused.stderr
    elsewhere = tmp_path / "elsewhere"
    restored = await asyncio.to_thread(trenza, "restore", file, "--data-dir", elsewhere)
    assert restored.exit_code == 0, restored.stderr
    markers = [folder / "blobs" / "trenza-store.txt" for folder in (server.data_dir, elsewhere)]
    assert len({await asyncio.to_thread(marker.read_bytes) for marker in markers}) == 1  # else it would not start
    await server.stop()

    async with (
        ServerProcess.running(elsewhere) as again,
        httpx.AsyncClient(base_url=again.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client,
    ):
        for photo in before:  # and the keys are the same: the old token still works
            record = (await client.get(f"/api/photos/{photo['id']}")).json()
            assert record["status"] == "completed"
            for version in ("large", "original"):
                assert (await client.get(f"/api/photos/{photo['id']}/{version}")).status_code == 200


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small data folder that nobody serves from."""
    folder = tmp_path / "data"
    for part in ("db", "blobs/photos", "keys", "spool"):
        (folder / part).mkdir(parents=True)
    with closing(sqlite3.connect(folder / "db" / "photos.sqlite3")) as database:
        database.execute("CREATE TABLE notes (text)")
        database.execute("INSERT INTO notes VALUES ('here')")
        database.commit()
    (folder / "blobs" / "photos" / "a.jpg").write_bytes(b"picture")
    (folder / "keys" / "signing.pem").write_text("key")
    (folder / "spool" / "half").write_text("on its way")
    return folder


def test_a_backup_holds_what_cannot_be_made_anew(trenza: Trenza, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.tar"
    assert trenza("backup", file, "--data-dir", data).exit_code == 0
    with tarfile.open(file) as archive:
        assert archive.getnames() == [
            "trenza-backup.json",
            "db/photos.sqlite3",
            "blobs/photos/a.jpg",
            "keys/signing.pem",
            "SHA256SUMS",
        ]
    target = tmp_path / "target"
    assert trenza("restore", file, "--data-dir", target).exit_code == 0
    assert (target / "blobs" / "photos" / "a.jpg").read_bytes() == b"picture"
    assert ((target / "keys" / "signing.pem").stat().st_mode & 0o777) == 0o600
    with closing(sqlite3.connect(target / "db" / "photos.sqlite3")) as database:
        assert database.execute("SELECT text FROM notes").fetchall() == [("here",)]
    assert sorted(path.name for path in target.iterdir()) == ["blobs", "db", "keys", "lock"]
    full = trenza("restore", file, "--data-dir", target)
    assert full.exit_code == 1
    assert "is not empty (blobs, db, keys)" in full.stderr
    assert "exists already" in trenza("backup", file, "--data-dir", data).stderr


def test_all_databases_are_of_one_moment(trenza: Trenza, data: Path, tmp_path: Path) -> None:
    files = [data / "db" / f"{name}.sqlite3" for name in ("first", "second")]
    for file in files:
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE numbers (number)")
            database.execute("INSERT INTO numbers VALUES (0)")
            database.commit()
    going_on = threading.Event()
    going_on.set()

    def count() -> None:
        """Write each number into the first database and then into the second, as a message goes."""
        with closing(sqlite3.connect(files[0])) as first, closing(sqlite3.connect(files[1])) as second:
            number = 0
            while going_on.is_set():
                number += 1
                for database in (first, second):
                    database.execute("UPDATE numbers SET number = ?", (number,))
                    database.commit()

    counting = threading.Thread(target=count)
    counting.start()
    try:
        for attempt in range(3):
            file, target = tmp_path / f"{attempt}.tar", tmp_path / f"target-{attempt}"
            assert trenza("backup", file, "--data-dir", data).exit_code == 0
            assert trenza("restore", file, "--data-dir", target).exit_code == 0
            numbers = []
            for name in ("first", "second"):
                with closing(sqlite3.connect(target / "db" / f"{name}.sqlite3")) as database:
                    numbers.append(database.execute("SELECT number FROM numbers").fetchone()[0])
            assert numbers[0] - numbers[1] in {0, 1}
    finally:
        going_on.clear()
        counting.join()


def test_half_a_backup_is_refused(trenza: Trenza, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "holds no data" in trenza("backup", tmp_path / "b.tar", "--data-dir", tmp_path / "none").stderr
    monkeypatch.setenv("TRENZA_PHOTOS_DATABASE_URL", "postgresql://ana@db/trenza")
    assert "the database of photos is not in the data folder" in trenza("backup", tmp_path / "b.tar", "--data-dir", data).stderr
    monkeypatch.delenv("TRENZA_PHOTOS_DATABASE_URL")
    monkeypatch.setenv("TRENZA_BLOBS_URL", "s3://bucket")
    assert "TRENZA_BLOBS_URL is set" in trenza("backup", tmp_path / "b.tar", "--data-dir", data).stderr
    assert not (tmp_path / "b.tar").exists()


@pytest.mark.parametrize("name", ["../evil", "db/../../evil", "/etc/evil", "spool/x", "db"])
def test_a_file_that_is_no_backup_leaves_nothing(trenza: Trenza, data: Path, tmp_path: Path, name: str) -> None:
    file, target = tmp_path / "b.tar", tmp_path / "target"
    assert trenza("backup", file, "--data-dir", data).exit_code == 0
    with tarfile.open(file, "a") as archive:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    refused = trenza("restore", file, "--data-dir", target)
    assert refused.exit_code == 1
    assert "which no backup does" in refused.stderr
    assert not target.exists()
    (tmp_path / "text.tar").write_text("not a tar")
    assert "is no backup of Trenza" in trenza("restore", tmp_path / "text.tar", "--data-dir", target).stderr
    assert "is no file" in trenza("restore", tmp_path / "nothing.tar", "--data-dir", target).stderr


@pytest.mark.parametrize("kept", [1, 2, 3, 4])
def test_a_backup_without_its_end_is_refused(trenza: Trenza, data: Path, tmp_path: Path, kept: int) -> None:
    file, target = tmp_path / "b.tar", tmp_path / "target"
    assert trenza("backup", file, "--data-dir", data).exit_code == 0
    with tarfile.open(file) as archive:
        offset = archive.getmembers()[kept].offset  # where tar itself sees a proper end
    file.write_bytes(file.read_bytes()[:offset])
    refused = trenza("restore", file, "--data-dir", target)
    assert refused.exit_code == 1
    assert "its end is missing" in refused.stderr
    assert not target.exists()


def test_a_backup_with_a_changed_byte_is_refused(trenza: Trenza, data: Path, tmp_path: Path) -> None:
    file, target = tmp_path / "b.tar", tmp_path / "target"
    assert trenza("backup", file, "--data-dir", data).exit_code == 0
    file.write_bytes(file.read_bytes().replace(b"picture", b"Picture"))
    refused = trenza("restore", file, "--data-dir", target)
    assert refused.exit_code == 1
    assert "blobs/photos/a.jpg is missing or has changed" in refused.stderr


def test_a_refused_restore_leaves_no_trace(trenza: Trenza, tmp_path: Path) -> None:
    file, target = tmp_path / "b.tar", tmp_path / "new" / "target"
    file.write_text("no backup")
    assert trenza("restore", file, "--data-dir", target).exit_code == 1
    assert not target.parent.exists()
    target.mkdir(parents=True)
    assert trenza("restore", file, "--data-dir", target).exit_code == 1
    assert list(target.iterdir()) == []
    (target / "notes.txt").write_text("mine")
    assert "is not empty (notes.txt)" in trenza("restore", file, "--data-dir", target).stderr
    assert [path.name for path in target.iterdir()] == ["notes.txt"]


def test_nothing_starts_on_half_a_restore_and_it_can_be_done_again(trenza: Trenza, data: Path, tmp_path: Path) -> None:
    file, target = tmp_path / "b.tar", tmp_path / "target"
    assert trenza("backup", file, "--data-dir", data).exit_code == 0
    assert trenza("restore", file, "--data-dir", target).exit_code == 0
    (target / "restoring").mkdir()  # as a SIGKILL leaves it, between the parts
    (target / "db").rename(target / "restoring" / "db")
    for command in (("up", "--port", "0"), ("backup", tmp_path / "c.tar"), ("migrate",)):
        refused = trenza(*command, "--data-dir", target)
        assert refused.exit_code == 1, command
        assert "half of a restore that was cut off" in refused.stderr, command
    assert trenza("restore", file, "--data-dir", target).exit_code == 0
    assert sorted(path.name for path in target.iterdir()) == ["blobs", "db", "keys", "lock"]


WRITING = """
    import sys
    from pathlib import Path
    from trenza.cli.whole_files import written_whole

    with written_whole(Path(sys.argv[1])) as (sink, beside):
        sink.write(b"half of it")
        sink.flush()
        (beside / "photos.sqlite3").write_bytes(b"a copy")
        print(beside, flush=True)
        sys.stdin.read()
"""


def test_what_a_killed_backup_left_goes_with_the_next_and_what_a_live_one_writes_stays(
    trenza: Trenza, data: Path, tmp_path: Path
) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    commands = [[sys.executable, "-c", textwrap.dedent(WRITING), str(backups / name)] for name in ("a.tar", "b.tar")]
    with subprocess.Popen(commands[0], **pipes) as killed, subprocess.Popen(commands[1], **pipes) as alive:  # noqa: S603 - our own script
        assert killed.stdout is not None
        assert alive.stdout is not None
        left, written = Path(killed.stdout.readline().strip()), Path(alive.stdout.readline().strip())
        killed.kill()
        killed.wait()
        assert (left / "a.tar").read_bytes() == b"half of it"
        made = trenza("backup", backups / "c.tar", "--data-dir", data)
        assert made.exit_code == 0, made.stderr
        assert {path.name for path in backups.iterdir()} == {"c.tar", written.name}
        alive.communicate()
    assert {path.name for path in backups.iterdir()} == {"b.tar", "c.tar"}
    assert ((backups / "c.tar").stat().st_mode & 0o777) == 0o600


def test_a_damaged_database_is_not_backed_up(trenza: Trenza, data: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data / "db" / "photos.sqlite3")) as database:
        database.executemany("INSERT INTO notes VALUES (?)", [("x" * 1000,)] * 500)
        database.commit()
    content = bytearray((data / "db" / "photos.sqlite3").read_bytes())
    content[8192:40960] = bytes(32768)
    (data / "db" / "photos.sqlite3").write_bytes(content)
    refused = trenza("backup", tmp_path / "b.tar", "--data-dir", data)
    assert refused.exit_code == 1
    assert "is damaged" in refused.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
