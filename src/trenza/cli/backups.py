"""``trenza backup`` and ``trenza restore``: the embedded data as one file, taken while the services run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Final, cast

from trenza.chassis.blobs.identity import MARKER
from trenza.chassis.runtime.databases import database_urls
from trenza.chassis.runtime.deployment import read_deployment
from trenza.chassis.runtime.loading import load_services
from trenza.chassis.runtime.lock import RESTORING, lock_to_fill, refuse_half_restored
from trenza.chassis.settings import PlatformSettings
from trenza.cli.errors import Failure
from trenza.cli.options import read_settings
from trenza.cli.whole_files import ended_in_order, written_whole

__all__ = ["back_up", "restore"]

_MANIFEST: Final = "trenza-backup.json"
_SUMS: Final = "SHA256SUMS"
"""The last member: a line for each file, as `sha256sum` writes and checks them. Without it, the end is missing."""
_FORMAT: Final = 2
_PARTS: Final = ("keys", "blobs", "db")
"""What a data folder holds that cannot be made anew. Restored in this order: with the databases, everything is there."""
_LOCK_SECONDS: Final = 15.0
"""How long to wait for a writer to let a database go."""
_TOLERATED: Final = {"lock", "spool"}
"""What a folder may hold that is to be filled: locks (``lock.photos`` too) and what was on its way."""


Sums = dict[str, str]
"""SHA-256 in hexadecimal, by the name of the member."""


class _Summing:
    """A file whose SHA-256 is taken while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """As files do."""
        data = self._file.read(size)
        self._hash.update(data)
        return data

    @property
    def sum(self) -> str:
        """Of what has been read."""
        return self._hash.hexdigest()


def back_up(target: Path, *, data_dir: Path | None, deployment: str) -> tuple[int, int]:
    """Write the databases, keys and objects of a data folder, running or not, into a tar file; the counts of databases, objects.

    The databases are copied as they all were at one moment, so that no message is lost, or there twice, between two of them; and
    only then the objects: an object is stored before its record, so that each one that a copied record names is there. What came
    later is swept as an orphan after a restore.
    """
    settings = read_settings(data_dir)
    folder = settings.data_dir
    _require_embedded(settings, deployment)
    refuse_half_restored(folder)
    if not (folder / "db").is_dir():
        raise Failure(f"{folder} holds no data: name the folder with --data-dir or TRENZA_DATA_DIR")
    if target.exists():
        raise Failure(f"{target} exists already: choose another name, or remove it")
    sums: Sums = {}
    with ended_in_order(), written_whole(target) as (sink, beside), tarfile.open(fileobj=sink, mode="w") as archive:
        made = {"format": _FORMAT, "made_at": datetime.now(UTC).isoformat(), "version": version("trenza")}
        _add(archive, {}, _MANIFEST, io.BytesIO(json.dumps(made).encode()), time.time())
        databases = sorted((folder / "db").glob("*.sqlite3"))
        with ExitStack() as open_ones:
            for database, snapshot in zip(databases, _one_moment(databases, open_ones), strict=True):
                with tempfile.TemporaryDirectory(dir=beside) as scratch:
                    copy = _copied(database, snapshot, Path(scratch) / database.name)
                    _add_file(archive, sums, f"db/{database.name}", copy)
        objects = _add_tree(archive, sums, folder, "blobs")
        objects -= f"blobs/{MARKER}" in sums  # it is carried along, and is nobody's object
        _add_tree(archive, sums, folder, "keys")
        lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
        _add(archive, {}, _SUMS, io.BytesIO(lines.encode()), time.time())
    return len(databases), objects


def restore(source: Path, *, data_dir: Path | None) -> Path:
    """Fill an empty data folder from a backup; returns the folder. Refuses one that is served from, or holds anything."""
    folder = read_settings(data_dir).data_dir
    if not source.is_file():
        raise Failure(f"{source} is no file: name the backup")
    with lock_to_fill(folder):
        cut_off = {RESTORING, *_PARTS} if (folder / RESTORING).exists() else set()
        if held := sorted({path.name for path in folder.iterdir() if path.name.partition(".")[0] not in _TOLERATED} - cut_off):
            raise Failure(f"{folder} is not empty ({', '.join(held)}): restore into another folder with --data-dir")
        scratch = folder / RESTORING
        for name in sorted(cut_off - {RESTORING}):
            shutil.rmtree(folder / name, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)  # after the parts: while it is there, nothing starts on them
        scratch.mkdir(mode=0o700)
        try:
            with tarfile.open(source, mode="r:") as archive:
                _check_manifest(archive)
                _unpack_all(archive, scratch)
        except tarfile.TarError as error:
            shutil.rmtree(scratch)
            raise Failure(f"{source} is no backup of Trenza, or it is damaged ({error}): use another") from None
        except BaseException:
            shutil.rmtree(scratch)
            raise
        os.sync()
        for part in _PARTS:
            if (scratch / part).exists():
                (scratch / part).rename(folder / part)
        scratch.rmdir()
        os.sync()
    return folder


def _require_embedded(settings: PlatformSettings, deployment: str) -> None:
    """Raise `Failure` where some of the data lies elsewhere: half a backup is worse than none."""
    if settings.blobs_url is not None:
        raise Failure("TRENZA_BLOBS_URL is set, so the objects are not in the data folder: back the bucket up by its own means")
    names = read_deployment(deployment).services
    for service, url in database_urls(load_services(names), settings).items():
        inside = url.get_backend_name() == "sqlite" and Path(url.database or "").parent == settings.data_dir / "db"
        if not inside:
            raise Failure(f"the database of {service} is not in the data folder: back it up by its own means (pg_dump)")


def _one_moment(databases: list[Path], stack: ExitStack) -> list[sqlite3.Connection]:
    """A connection to each database, all of which see what was there at one and the same moment until the stack is closed.

    Writers are kept out of all of them for as long as it takes to begin reading, some milliseconds. Raises `Failure`.
    """
    readers = []
    try:
        with ExitStack() as locks:
            for database in databases:
                lock = locks.enter_context(closing(sqlite3.connect(database, timeout=_LOCK_SECONDS, isolation_level=None)))
                lock.execute("BEGIN IMMEDIATE")
            for database in databases:
                reader = stack.enter_context(closing(sqlite3.connect(database, timeout=_LOCK_SECONDS, isolation_level=None)))
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # only a read begins the transaction
                readers.append(reader)
    except sqlite3.OperationalError as error:
        raise Failure(f"{database.name} cannot be read now ({error}): try again when less is written") from None
    except sqlite3.DatabaseError as error:
        raise _damaged(database, str(error)) from None
    return readers


def _damaged(database: Path, verdict: str) -> Failure:
    return Failure(f"the database {database.name} is damaged ({verdict}): restore the last good backup")


def _copied(database: Path, snapshot: sqlite3.Connection, copy: Path) -> Path:
    """A copy of a database as its snapshot sees it, checked. Raises `Failure`."""
    try:
        with closing(sqlite3.connect(copy)) as into:
            snapshot.backup(into)
            verdict = str(into.execute("PRAGMA quick_check(1)").fetchone()[0])
            into.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it; the service sets its own mode
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise _damaged(database, verdict)
    return copy


def _add_tree(archive: tarfile.TarFile, sums: Sums, folder: Path, part: str) -> int:
    """Add all files below a part of the data folder; returns how many."""
    added = 0
    for parent, folders, names in os.walk(folder / part):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            added += _add_file(archive, sums, path.relative_to(folder).as_posix(), path)
    return added


def _add_file(archive: tarfile.TarFile, sums: Sums, name: str, path: Path) -> bool:
    """Add a file; False when it has been deleted meanwhile."""
    try:
        with path.open("rb") as file:
            _add(archive, sums, name, file, path.stat().st_mtime)
    except FileNotFoundError:
        return False
    return True


def _add(archive: tarfile.TarFile, sums: Sums, name: str, file: BinaryIO, modified: float) -> None:
    """Add a file, and put down its sum."""
    member = tarfile.TarInfo(name)
    member.size = file.seek(0, io.SEEK_END)
    member.mtime = int(modified)
    member.mode = 0o600
    file.seek(0)
    summing = _Summing(file)
    archive.addfile(member, cast("IO[bytes]", summing))
    sums[name] = summing.sum


def _check_manifest(archive: tarfile.TarFile) -> None:
    first = archive.next()
    file = archive.extractfile(first) if first is not None and first.name == _MANIFEST else None
    if file is None:
        raise tarfile.ReadError(f"it does not begin with {_MANIFEST}")
    if json.loads(file.read()).get("format") != _FORMAT:
        raise Failure("the backup is of a format that this version does not know: restore it with the version that made it")


def _unpack_all(archive: tarfile.TarFile, folder: Path) -> None:
    """Write all members below a folder, and compare them with the sums at the end."""
    found: Sums = {}
    for member in archive:
        if member.name == _SUMS:
            file = archive.extractfile(member)
            lines = file.read().decode().splitlines() if file is not None else []
            wanted = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
            if wrong := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
                raise tarfile.ReadError(f"{wrong[0]} is missing or has changed, one of {len(wrong)}")
            if (surplus := archive.next()) is not None:
                raise tarfile.ReadError(f"it holds {surplus.name!r} after its end, which no backup does")
            return
        if member.name != _MANIFEST:
            found[member.name] = _unpack(archive, member, folder)
    raise tarfile.ReadError("its end is missing")


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> str:
    """Write one member below a folder; its SHA-256. Nothing but plain files in the known parts is taken."""
    parts = PurePosixPath(member.name).parts
    file = archive.extractfile(member) if member.isreg() else None
    if file is None or len(parts) < 2 or parts[0] not in _PARTS or ".." in parts:  # noqa: PLR2004 - a folder and a name
        raise tarfile.ReadError(f"it holds {member.name!r}, which no backup does")
    path = folder.joinpath(*parts)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    summing = _Summing(file)
    with path.open("xb") as target:
        path.chmod(0o600)
        shutil.copyfileobj(summing, target)
    os.utime(path, (member.mtime, member.mtime))
    return summing.sum
