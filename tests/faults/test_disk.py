"""A disk that is full, and one that can only be read: uploads are refused with a reason, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import errno
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx
    from tests.faults.conftest import Installation, MakeInstallation

MEBIBYTE = 1024 * 1024


class SmallDisk:
    """A file system in memory of a few megabytes, in a mount namespace that lives as long as a program that holds it."""

    def __init__(self, folder: Path, *, mebibytes: int) -> None:
        folder.mkdir()
        self.folder = folder
        # Root may mount; anybody else may as the root of a user namespace of their own, where the kernel allows those.
        for flags in ("-m", "-Urm"):
            mount = f"mount -t tmpfs -o size={mebibytes}m none {folder} && echo mounted && exec cat"
            self._holder = subprocess.Popen(  # noqa: S603 - fixed programs, a folder of pytest's own
                ["unshare", flags, "sh", "-c", mount],  # noqa: S607 - wherever they are
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert self._holder.stdout is not None
            if self._holder.stdout.readline() == b"mounted\n":
                break
            _, said = self._holder.communicate()
        else:
            pytest.fail(f"this machine lets tests mount nothing, so the full disk is untested: {said.decode().strip()}")
        user = ("-U", "--preserve-credentials") if "U" in flags else ()
        self.enter = ("nsenter", "-t", str(self._holder.pid), *user, "-m")
        self.seen = Path(f"/proc/{self._holder.pid}/root")
        self._ballast = self.seen / folder.relative_to("/") / "ballast"

    def fill(self) -> None:
        """Leave not a byte."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (MEBIBYTE, 4096, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017 - how it is known to be full

    def free(self) -> None:
        """Give it all back."""
        self._ballast.unlink()

    def run(self, *command: str) -> None:
        """Run a program behind the mounts."""
        subprocess.run([*self.enter, *command], check=True, capture_output=True)  # noqa: S603 - fixed programs

    def unmount(self) -> None:
        """Let go of the namespace, and of the files with it."""
        self._holder.send_signal(signal.SIGKILL)
        self._holder.communicate()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Large enough for some twenty photos."""
    disk = SmallDisk(tmp_path / "disk", mebibytes=32)
    yield disk
    disk.unmount()


def installation_on(disk: SmallDisk, make_installation: MakeInstallation, **environment: str) -> Installation:
    installation = make_installation(**environment)
    installation.data_dir = disk.folder / "data"
    installation.launcher = disk.enter
    installation.behind = disk.seen
    return installation


def rescue(installation: Installation) -> None:
    """Copy what is on the small disk to where it can be looked at: SQLite opens nothing by way of another namespace."""
    found = installation.seen
    installation.data_dir, installation.launcher, installation.behind = installation.data_dir.with_name("rescued"), (), Path("/")
    shutil.copytree(found, installation.data_dir)


def spooled(installation: Installation) -> list[str]:
    return [path.name for path in (installation.seen / "spool").rglob("*") if path.is_file()]


async def refused(installation: Installation, client: httpx.AsyncClient, photo: bytes) -> str:
    """The code of the problem that a photo is refused with, which must be a clear one."""
    answer = await installation.send(client, photo)
    problem = answer.json()
    assert answer.status_code == 503, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert problem["detail"]
    assert str(installation.data_dir) not in answer.text
    code: str = problem["code"]
    return code


@pytest.mark.timeout(240)
async def test_a_full_disk_refuses_uploads_and_loses_nothing(
    disk: SmallDisk, make_installation: MakeInstallation, make_photo: Callable[[], bytes]
) -> None:
    installation = installation_on(disk, make_installation)
    async with installation.serving() as server, installation.client(server) as client:
        first = (await installation.send(client, make_photo(), Prefer="wait=60")).json()
        for _ in range(6):  # these are under way when the disk fills
            assert (await installation.send(client, make_photo())).status_code == 202
        await asyncio.to_thread(disk.fill)
        codes = {await refused(installation, client, make_photo()) for _ in range(4)}
        assert codes <= {"BLOBS_UNAVAILABLE", "DATABASE_UNAVAILABLE"}
        await installation.until_failing(client, "objects")
        assert (await client.get(f"/api/photos/{first['id']}")).json()["status"] == "completed"
        assert (await client.get(f"/api/photos/{first['id']}/large", follow_redirects=True)).status_code == 200
        await asyncio.to_thread(disk.free)
        await installation.until_failing(client)
        assert (await installation.send(client, make_photo())).status_code == 202
        await installation.completed(client)
        assert spooled(installation) == []
    rescue(installation)
    await installation.prove_whole()


@pytest.mark.timeout(240)
async def test_storage_that_can_only_be_read_refuses_uploads_until_it_can_be_written(
    disk: SmallDisk, make_installation: MakeInstallation, make_photo: Callable[[], bytes], postgres_url: str
) -> None:
    """On PostgreSQL: of the data folder only the objects and the spool are storage then."""
    installation = installation_on(disk, make_installation, TRENZA_DATABASE_URL=postgres_url)
    folders = [str(installation.data_dir / name) for name in ("blobs", "spool")]
    async with installation.serving() as server, installation.client(server) as client:
        first = (await installation.send(client, make_photo(), Prefer="wait=60")).json()
        for folder in folders:
            disk.run("mount", "--bind", folder, folder)
            disk.run("mount", "-o", "remount,ro,bind", folder)
        assert await refused(installation, client, make_photo()) == "BLOBS_UNAVAILABLE"
        await installation.until_failing(client, "objects")
        assert (await client.get(f"/api/photos/{first['id']}/large", follow_redirects=True)).status_code == 200
        disk.run("umount", *folders)
        await installation.until_failing(client)
        assert (await installation.send(client, make_photo())).status_code == 202
        await installation.completed(client)
        assert spooled(installation) == []
    rescue(installation)
    await installation.prove_whole()
