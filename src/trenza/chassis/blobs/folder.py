"""Durable files under a folder: the blocking operations that `LocalBlobs` runs in its threads."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trenza.chassis.blobs.objects import MAX_CHUNK_BYTES, BlobMissing, BlobsUnavailable, InvalidBlobKey
from trenza.chassis.blobs.spool import Spool, discard
from trenza.chassis.made_once import make_once

__all__ = ["ObjectFolder", "naming_the_cause"]

PLACE_ATTEMPTS = 16
"""How often a put makes its folder anew when deletes of its last other object keep removing it."""
MAX_DURABLE_FOLDERS = 10_000
_FOLDER_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY}


@contextmanager
def naming_the_cause(doing: str) -> Iterator[None]:
    """Turn an `OSError` into `BlobsUnavailable` with the system's words for it (``No space left on device``), without paths."""
    try:
        yield
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise BlobsUnavailable(f"the object folder cannot {doing}: {cause}", cause=cause) from error


class ObjectFolder:
    """Objects as files under ``root``, by way of a spool on the same file system.

    A put writes and syncs a spool file, renames it into place (atomic in POSIX) and syncs its folder; folders that may be new are
    synced into theirs first. Folders that a delete leaves empty are removed.
    """

    def __init__(self, root: Path, spool: Spool) -> None:
        with naming_the_cause("be opened"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root = root.resolve()
            self.spool = spool
            if self.root.stat().st_dev != spool.folder.stat().st_dev:
                raise BlobsUnavailable(
                    f"{root} and {spool.folder} lie on different file systems; a put renames from one into the other",
                    remedy="mount the data folder as a whole",
                )
            sync_folder(self.root.parent)
        # Folders whose entry in their own folder is known to be on the disk: they need no further sync.
        self._durable: set[Path] = {self.root}

    def path(self, key: str) -> Path:
        """The file of a key, which must have been checked."""
        return self.root / key

    def write(self, key: str, data: bytes) -> os.stat_result:
        """Put bytes."""
        temporary = self.spool.new_file()
        try:
            with naming_the_cause("store the object"):
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb", buffering=0) as file:
                    view = memoryview(data)
                    while view:
                        view = view[file.write(view) :]
                    return self._seal(descriptor, temporary, key)
        finally:
            discard(temporary)

    def write_once(self, name: str, data: bytes) -> None:
        """Put bytes into the folder itself, unless there is an object of that name: of several at once, one does."""
        with naming_the_cause("store the object"):
            make_once(self.path(name), data, draft=self.spool.new_file())

    def take(self, key: str, path: Path) -> os.stat_result:
        """Put a file by moving it; a file of another file system is copied first."""
        device = path.lstat().st_dev  # a path that is not there is the caller's mistake: its FileNotFoundError goes up as it is
        with naming_the_cause("store the object"):
            if device != self.root.stat().st_dev:
                done = self._copy(key, path)
                path.unlink()
                return done
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                return self._seal(descriptor, path, key)
            finally:
                os.close(descriptor)

    def _copy(self, key: str, path: Path) -> os.stat_result:
        temporary = self.spool.new_file()
        try:
            shutil.copyfile(path, temporary)
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                return self._seal(descriptor, temporary, key)
            finally:
                os.close(descriptor)
        finally:
            discard(temporary)

    def _seal(self, descriptor: int, path: Path, key: str) -> os.stat_result:
        """Make a written file durable, then an object."""
        os.fsync(descriptor)
        self._place(path, self.path(key))
        return os.fstat(descriptor)

    def _place(self, source: Path, target: Path) -> None:
        for _ in range(PLACE_ATTEMPTS):
            try:
                self._make_durable(target.parent)
                source.rename(target)
                # Again: a delete may have removed the folder and another put made it anew, not yet synced, in between.
                self._make_durable(target.parent)
                sync_folder(target.parent)
            except FileNotFoundError:
                if not source.exists():
                    raise
                # A delete removed the folder, empty at that moment, between the two steps.
            except OSError as error:
                self._prune(target.parent)
                if error.errno in _FOLDER_IN_THE_WAY:
                    raise InvalidBlobKey(
                        "the key is a folder of other objects, or lies below an object", field="key", remedy="name it otherwise"
                    ) from error
                raise
            else:
                return
        raise BlobsUnavailable("the object folder cannot store the object: its folder keeps disappearing")

    def _make_durable(self, folder: Path) -> None:
        """Make a folder and those above it, each on the disk before anything is put below it.

        One that exists already may have been made by a thread or process that has not synced it yet: it is synced here once.
        """
        if folder in self._durable and folder.is_dir():
            return
        if folder != self.root:
            self._make_durable(folder.parent)
            with suppress(FileExistsError):  # Path.mkdir(exist_ok=True) raises it too, for a folder that goes at that moment
                folder.mkdir(mode=0o700)
            sync_folder(folder.parent)
        if len(self._durable) > MAX_DURABLE_FOLDERS:
            self._durable = {self.root}
        self._durable.add(folder)

    def stat(self, key: str) -> os.stat_result | None:
        """What the file system knows of an object, or None."""
        with naming_the_cause("be read"):
            try:
                found = self.path(key).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return found if stat.S_ISREG(found.st_mode) else None

    def open(self, key: str) -> int:
        """A descriptor to read an object with. Raises `BlobMissing`."""
        with naming_the_cause("be read"):
            try:
                descriptor = os.open(self.path(key), os.O_RDONLY)
            except (FileNotFoundError, NotADirectoryError):
                raise BlobMissing(f"there is no object {key!r}", key=key) from None
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise BlobMissing(f"there is no object {key!r}", key=key)
            return descriptor

    def read(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes of an object: all from ``start``, or ``length`` of them."""
        descriptor = self.open(key)
        try:
            with naming_the_cause("be read"):
                left = max(0, os.fstat(descriptor).st_size - start)
                return read_fully(descriptor, start, left if length is None else min(left, length))
        finally:
            os.close(descriptor)

    def delete(self, keys: tuple[str, ...]) -> None:
        """Remove objects and the folders that this leaves empty, and wait until the disk has it."""
        touched = set()
        with naming_the_cause("delete objects"):
            for key in keys:
                path = self.path(key)
                try:
                    path.unlink()
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except (IsADirectoryError, PermissionError):
                    if path.is_dir():  # a folder of objects is no object; macOS answers EPERM for it
                        continue
                    raise
                touched.add(self._prune(path.parent))
            for folder in touched:
                with suppress(FileNotFoundError):  # pruned meanwhile: its removal is synced by who pruned it
                    sync_folder(folder)

    def _prune(self, folder: Path) -> Path:
        """Remove empty folders upwards; returns the lowest one that is left."""
        while folder != self.root:
            # Before the removal, so that no put takes a folder that is made anew for one that is on the disk.
            self._durable.discard(folder)
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:  # not empty (the usual case), or not ours to remove: an empty folder does no harm
                return folder
            folder = folder.parent
        return folder

    def list(self, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        """The keys and stats of the objects under a folder."""
        pending = [self.root / prefix if prefix else self.root]
        while pending:
            folder = pending.pop()
            with naming_the_cause("be listed"):
                try:
                    entries = list(os.scandir(folder))
                except (FileNotFoundError, NotADirectoryError):
                    continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                    continue
                with suppress(FileNotFoundError):  # deleted since
                    yield Path(entry.path).relative_to(self.root).as_posix(), entry.stat(follow_symlinks=False)

    def probe(self) -> None:
        """Write and remove a small file, as a put would begin."""
        probe = self.spool.new_file(".probe")
        with naming_the_cause("be written"):
            try:
                probe.write_bytes(bytes(4096))
            finally:
                probe.unlink(missing_ok=True)
            if not os.access(self.root, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def read_fully(descriptor: int, start: int, length: int) -> bytes:
    """Exactly ``length`` bytes from ``start`` unless the file ends before: one read may return less than it was asked for."""
    first = os.pread(descriptor, length, start)
    if len(first) == length or not first:
        return first
    parts, got = [first], len(first)
    while got < length and (part := os.pread(descriptor, min(length - got, MAX_CHUNK_BYTES), start + got)):
        parts.append(part)
        got += len(part)
    return b"".join(parts)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
