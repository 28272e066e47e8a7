"""The local folder: durability, faults of the disk, kills, and what it promises beyond the common suite."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from trenza.chassis.blobs import Blobs, BlobsUnavailable, InvalidBlobKey, open_blobs
from trenza.chassis.settings import InvalidSettings, PlatformSettings


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, where limits and other users can be tried."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own script


async def test_objects_lie_under_their_keys_for_their_owner_only(local_blobs: Blobs, tmp_path: Path) -> None:
    await local_blobs.put("photos/UP-1/a.jpg", b"x", media_type="image/jpeg")
    path = tmp_path / "data" / "blobs" / "photos" / "UP-1" / "a.jpg"
    assert local_blobs.local_path("photos/UP-1/a.jpg") == path
    assert path.read_bytes() == b"x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in ("blobs", "blobs/photos", "spool", "keys"):
        assert stat.S_IMODE((tmp_path / "data" / folder).stat().st_mode) == 0o700
    async with local_blobs.as_file("photos/UP-1/a.jpg") as itself:
        assert itself == path


async def test_deleting_the_last_object_removes_its_folders(local_blobs: Blobs, tmp_path: Path) -> None:
    await local_blobs.put("a/b/c/one.txt", b"1", media_type="text/plain")
    await local_blobs.put("a/two.txt", b"2", media_type="text/plain")
    await local_blobs.delete("a/b/c/one.txt")
    assert [path.name for path in (tmp_path / "data" / "blobs" / "a").iterdir()] == ["two.txt"]
    await local_blobs.delete("a/two.txt")
    assert list((tmp_path / "data" / "blobs").iterdir()) == []


async def test_a_key_cannot_be_an_object_and_a_folder(local_blobs: Blobs, tmp_path: Path) -> None:
    await local_blobs.put("a/b", b"object", media_type="text/plain")
    for key in ("a/b/c", "a/b/c/d", "a"):
        with pytest.raises(InvalidBlobKey, match="folder"):
            await local_blobs.put(key, b"x", media_type="text/plain")
    assert files_below(tmp_path / "data" / "blobs") == {"a/b"}
    assert files_below(tmp_path / "data" / "spool") == set()


@pytest.fixture
def file_elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A file of another file system than that of the objects."""
    foreign = Path("/dev/shm")  # noqa: S108 - chosen because it is memory, and the objects lie on a disk
    if not foreign.is_dir() or foreign.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system that everybody may write to")
    path = foreign / f"trenza-test-{os.getpid()}"
    path.write_bytes(b"from elsewhere")
    yield path
    path.unlink(missing_ok=True)


async def test_versions_of_one_size_and_moment_differ_in_their_tags(local_blobs: Blobs) -> None:
    """File systems have clocks with ticks of milliseconds; what a put makes anew each time is the inode."""
    tags = set()
    for data in (b"one", b"two"):
        await local_blobs.put("a.txt", data, media_type="text/plain")
        os.utime(local_blobs.local_path("a.txt") or "", ns=(1, 1))
        found = await local_blobs.stat("a.txt")
        tags.add(found and found.etag)
    assert len(tags) == 2


async def test_folders_are_not_taken_away_from_puts(local_blobs: Blobs) -> None:
    """Thousands of deletes that empty a folder at the moment at which a put is about to use it."""

    async def put_and_delete(number: int) -> None:
        for _ in range(150):
            await local_blobs.put(f"x/y/{number}.txt", b"", media_type="text/plain")
            await local_blobs.delete(f"x/y/{number}.txt")

    await asyncio.gather(*(put_and_delete(number) for number in range(12)))
    assert [found async for found in local_blobs.list()] == []


async def test_a_file_of_another_file_system_is_copied(local_blobs: Blobs, file_elsewhere: Path) -> None:
    source = file_elsewhere
    await local_blobs.put_file("a.bin", source, media_type="application/octet-stream")
    assert not source.exists()
    assert await local_blobs.get("a.bin") == b"from elsewhere"


async def test_a_link_is_not_taken_for_a_file(local_blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("secret")
    link = local_blobs.new_spool_file()
    link.symlink_to(tmp_path / "private")
    with pytest.raises(BlobsUnavailable):
        await local_blobs.put_file("a.txt", link, media_type="text/plain")
    assert await local_blobs.stat("a.txt") is None


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """A file size limit stops the write in its middle, as a full disk does; the child must see it refused and clean."""
    done = run_python(
        """
        import asyncio, resource, sys
        from pathlib import Path
        from trenza.chassis.blobs import BlobsUnavailable, open_blobs
        from trenza.chassis.settings import PlatformSettings

        async def main():
            data = Path(sys.argv[1])
            blobs = open_blobs(PlatformSettings(data_dir=data))
            await blobs.put("a/kept.bin", b"before", media_type="application/octet-stream")
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            for key in ("a/kept.bin", "b/new.bin"):
                try:
                    await blobs.put(key, bytes(200_000), media_type="application/octet-stream")
                except BlobsUnavailable as error:
                    print(error)
            left = list(blobs.new_spool_file().parent.iterdir())
            print(await blobs.get("a/kept.bin"), [found.key async for found in blobs.list()], left)
            await blobs.close()

        asyncio.run(main())
        """,
        str(tmp_path / "data"),
    )
    assert done.stderr == ""
    refused = "the object folder cannot store the object: File too large"
    assert done.stdout.splitlines() == [refused, refused, "b'before' ['a/kept.bin'] []"]


def test_a_folder_that_may_not_be_written_is_named() -> None:
    done = run_python(
        """
        import asyncio, os, shutil, sys, tempfile
        from pathlib import Path
        from trenza.chassis.blobs import BlobsUnavailable, open_blobs
        from trenza.chassis.settings import PlatformSettings

        async def refusal(operation):
            try:
                await operation
            except BlobsUnavailable as error:
                print(error)

        async def main():
            if os.geteuid() == 0:
                os.setuid(65534)  # root may write everywhere
            data = Path(tempfile.mkdtemp())
            blobs = open_blobs(PlatformSettings(data_dir=data))
            await blobs.put("a/old.txt", b"old", media_type="text/plain")
            spool = blobs.new_spool_file().parent
            spool.chmod(0o500)
            await refusal(blobs.ping())
            await refusal(blobs.put("new.txt", b"new", media_type="text/plain"))
            spool.chmod(0o700)
            (data / "blobs").chmod(0o500)
            await refusal(blobs.ping())
            await refusal(blobs.put("new/new.txt", b"new", media_type="text/plain"))
            (data / "blobs" / "a").chmod(0o500)
            await refusal(blobs.delete("a/old.txt"))
            print(await blobs.get("a/old.txt"), [found.key async for found in blobs.list()], list(spool.iterdir()))
            await blobs.close()
            for folder in ("blobs", "blobs/a"):
                (data / folder).chmod(0o700)
            shutil.rmtree(data)

        asyncio.run(main())
        """,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "the object folder cannot be written: Permission denied",
        "the object folder cannot store the object: Permission denied",
        "the object folder cannot be written: Permission denied",
        "the object folder cannot store the object: Permission denied",
        "the object folder cannot delete objects: Permission denied",
        "b'old' ['a/old.txt'] []",
    ]


WRITER = """
    import asyncio, hashlib, sys
    from pathlib import Path
    from trenza.chassis.blobs import open_blobs
    from trenza.chassis.settings import PlatformSettings

    def content(key, size):
        return (hashlib.sha256(key.encode()).digest() * (size // 32 + 1))[:size]

    async def put(blobs, number):
        key = f"k{number % 5}/{number}/{number % 7}.bin"
        size = 10_000 + number * 7_919 % 2_000_000
        data = hashlib.sha256(key.encode()).digest() + size.to_bytes(8, "big") + content(key, size)
        if number % 2:
            await blobs.put(key, data, media_type="application/octet-stream")
        else:
            path = blobs.new_spool_file()
            path.write_bytes(data)
            await blobs.put_file(key, path, media_type="application/octet-stream")
        print(key, flush=True)

    async def main():
        blobs = open_blobs(PlatformSettings(data_dir=Path(sys.argv[1])))
        for number in range(0, 100_000, 8):
            await asyncio.gather(*(put(blobs, number + offset) for offset in range(8)))

    asyncio.run(main())
"""


async def test_a_kill_loses_nothing_that_was_acknowledged_and_shows_nothing_half(tmp_path: Path) -> None:
    settings = PlatformSettings(data_dir=tmp_path / "data")
    for _ in range(3):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(settings.data_dir)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:  # noqa: S603, ASYNC220 - our own script
            assert writer.stdout is not None
            acknowledged = [writer.stdout.readline().strip() for _ in range(random.randint(20, 60))]  # noqa: S311 - when to kill
            os.kill(writer.pid, signal.SIGKILL)
            rest = writer.stdout.read().split("\n")
        acknowledged += rest[:-1]  # what follows the last newline was not said in full
        blobs = open_blobs(settings)
        present = {found.key async for found in blobs.list()}
        assert set(acknowledged) <= present
        for key in present:
            data = await blobs.get(key)
            assert data[:32] == hashlib.sha256(key.encode()).digest()
            assert len(data) == 40 + int.from_bytes(data[32:40], "big")
        await blobs.close()


SPOOLER = """
    import sys
    from pathlib import Path
    from trenza.chassis.blobs import open_blobs
    from trenza.chassis.settings import PlatformSettings

    blobs = open_blobs(PlatformSettings(data_dir=Path(sys.argv[1])))
    path = blobs.new_spool_file()
    path.write_bytes(b"half")
    print(path, flush=True)
    sys.stdin.read()
    path.unlink()
"""


async def test_what_a_killed_process_left_in_the_spool_is_swept_at_the_next_start_and_what_a_live_one_writes_is_not(
    tmp_path: Path,
) -> None:
    settings = PlatformSettings(data_dir=tmp_path / "data")
    command = [sys.executable, "-c", textwrap.dedent(SPOOLER), str(settings.data_dir)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as killed, subprocess.Popen(command, **pipes) as alive:  # noqa: S603, ASYNC220 - our own script
        assert killed.stdout is not None
        assert alive.stdout is not None
        left, written = Path(killed.stdout.readline().strip()), Path(alive.stdout.readline().strip())
        await open_blobs(settings).close()
        assert files_below(settings.data_dir / "spool") == {f"{path.parent.name}/{path.name}" for path in (left, written)}
        killed.kill()
        killed.wait()
        blobs = open_blobs(settings)
        mine = blobs.new_spool_file()
        assert files_below(settings.data_dir / "spool") == {f"{written.parent.name}/{written.name}"}
        alive.communicate()
    mine.write_bytes(b"still here")
    assert names_in(settings.data_dir / "spool") == {mine.parent.name}, "a process that ends in order takes its folder with it"
    await blobs.put_file("a.txt", mine, media_type="text/plain")
    await blobs.close()


async def test_a_spool_that_was_emptied_by_hand_goes_on(local_blobs: Blobs, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "data" / "spool")
    (tmp_path / "data" / "spool").mkdir()
    await local_blobs.put("a.txt", b"x", media_type="text/plain")
    assert await local_blobs.get("a.txt") == b"x"


def test_a_store_opens_where_its_spool_takes_no_folder() -> None:
    """As on a full disk: what is stored can still be read."""
    done = run_python(
        """
        import asyncio, os, shutil, tempfile
        from pathlib import Path
        from trenza.chassis.blobs import BlobsUnavailable, open_blobs
        from trenza.chassis.settings import PlatformSettings

        async def main():
            if os.geteuid() == 0:
                os.setuid(65534)  # root may write everywhere
            settings = PlatformSettings(data_dir=Path(tempfile.mkdtemp()))
            await open_blobs(settings).put("a.txt", b"kept", media_type="text/plain")
            (settings.data_dir / "spool").chmod(0o500)
            blobs = open_blobs(settings)
            print(await blobs.get("a.txt"))
            try:
                await blobs.ping()
            except BlobsUnavailable as error:
                print(error)
            (settings.data_dir / "spool").chmod(0o700)
            await blobs.put("b.txt", b"new", media_type="text/plain")
            await blobs.ping()
            shutil.rmtree(settings.data_dir)

        asyncio.run(main())
        """,
    )
    assert (done.stdout.splitlines(), done.stderr) == (["b'kept'", "the object folder cannot be written: Permission denied"], "")


async def test_what_a_crash_left_in_the_spool_is_swept_a_day_later(tmp_path: Path) -> None:
    spool = tmp_path / "data" / "spool"
    spool.mkdir(parents=True)
    for name, age in (("left", 25 * 3600), ("in-use", 3600)):
        (spool / name).write_bytes(b"x")
        moment = time.time() - age
        os.utime(spool / name, (moment, moment))
    blobs = open_blobs(PlatformSettings(data_dir=tmp_path / "data"))
    assert files_below(spool) == {"in-use"}
    await blobs.close()


async def test_cancelled_streams_close_their_files(local_blobs: Blobs) -> None:
    await local_blobs.put("large.bin", bytes(8 * 1024 * 1024), media_type="application/octet-stream")
    before = psutil.Process().num_fds()

    async def read() -> None:
        async for _ in local_blobs.stream("large.bin"):
            pass

    for turn in range(100):
        task = asyncio.create_task(read())
        for _ in range(turn % 10):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await local_blobs.close()  # waits for the threads, whose results nobody wanted
    await asyncio.sleep(0)
    assert psutil.Process().num_fds() <= before


async def test_a_stream_goes_on_with_the_version_that_it_began(local_blobs: Blobs) -> None:
    await local_blobs.put("a.bin", b"1" * 3_000_000, media_type="application/octet-stream")
    stream = local_blobs.stream("a.bin")
    data = await anext(stream)
    await local_blobs.put("a.bin", b"2" * 10, media_type="application/octet-stream")
    data += b"".join([chunk async for chunk in stream])
    assert data == b"1" * 3_000_000


@pytest.mark.parametrize("url", ["s3://", "gs://bucket", "/a/folder", "s3://bucket/a?x=1"])
def test_an_unknown_kind_of_store_is_refused(tmp_path: Path, url: str) -> None:
    unchecked = PlatformSettings(data_dir=tmp_path).model_copy(update={"blobs_url": url})
    with pytest.raises(InvalidSettings, match="TRENZA_BLOBS_URL"):
        open_blobs(unchecked)


def test_too_short_a_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="TRENZA_BLOBS_SECRET has 5 bytes") as refused:
        open_blobs(PlatformSettings(data_dir=tmp_path, blobs_secret=SecretStr("short")))
    assert "short" not in str(refused.value)


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(BlobsUnavailable, match=r"Not a directory|File exists"):
        open_blobs(PlatformSettings(data_dir=tmp_path / "data"))
