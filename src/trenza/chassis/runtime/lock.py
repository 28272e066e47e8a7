"""The lock on a data folder: one process at a time serves from it, or those of one deployment that share it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from trenza.chassis.settings import CannotStart

__all__ = [
    "RESTORING",
    "DataFolderHalfRestored",
    "DataFolderInUse",
    "DataFolderUnusable",
    "Sharing",
    "lock_data_folder",
    "lock_to_fill",
    "make_data_folder",
    "refuse_half_restored",
    "share_data_folder",
]


LOCK = "lock"
RESTORING = "restoring"
"""The folder within a data folder in which a restore unpacks. While it is there, the data is not whole."""


class DataFolderHalfRestored(CannotStart):
    """A restore into the data folder was cut off."""


class DataFolderInUse(CannotStart):
    """Another process serves from the same data folder."""


class DataFolderUnusable(CannotStart):
    """The data folder cannot be made or written."""


def make_data_folder(folder: Path) -> None:
    """Make the folder, readable by its owner alone: it holds keys. Raises `DataFolderUnusable`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"data folder {folder} cannot be made ({error.strerror}): choose another with --data-dir or TRENZA_DATA_DIR"
        raise DataFolderUnusable(message) from None


def refuse_half_restored(folder: Path) -> None:
    """Raise `DataFolderHalfRestored` where objects may be without their records, and would be swept."""
    if (folder / RESTORING).exists():
        message = f"data folder {folder} holds half of a restore that was cut off: run the same `trenza restore` again"
        raise DataFolderHalfRestored(message)


@contextmanager
def lock_data_folder(folder: Path) -> Iterator[None]:
    """Hold `LOCK` in a folder for the block. The kernel lets go of it however the process ends, SIGKILL included.

    Raises `DataFolderInUse` naming the holder's process id, and `DataFolderUnusable`.
    """
    descriptor = _locked(folder)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


class Sharing:
    """One process's part in a data folder from which several serve.

    ``alone`` are the services on whose data no other process works: what a killed predecessor had begun goes on at once there.
    Others that start meanwhile wait until `started`.
    """

    def __init__(self, alone: frozenset[str], held: tuple[int, ...]) -> None:
        self.alone = alone
        self._held = held

    def started(self) -> None:
        """Let other processes of the same services start."""
        for descriptor in self._held:
            fcntl.flock(descriptor, fcntl.LOCK_SH)


@contextmanager
def share_data_folder(folder: Path, services: Iterable[str]) -> Iterator[Sharing]:
    """Hold a share of a data folder for the block, and of what lies in it for each service.

    Raises `DataFolderInUse` when one process has all of it (a monolith, a restore), and `DataFolderUnusable`.
    """
    with ExitStack() as stack:
        whole = _locked(folder, shared=True)
        stack.callback(os.close, whole)
        os.ftruncate(whole, 0)  # the id of one that was killed names nobody any more
        alone, held = set(), []
        for service in sorted(services):
            descriptor = _opened(folder, f"{LOCK}.{service}")
            stack.callback(os.close, descriptor)
            held.append(descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            else:
                alone.add(service)
        yield Sharing(frozenset(alone), tuple(held))


@contextmanager
def lock_to_fill(folder: Path) -> Iterator[None]:
    """`lock_data_folder` for who is about to fill it: when the block raises, what the lock has made is removed again."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    locked_before = (folder / LOCK).exists()
    with lock_data_folder(folder):
        try:
            yield
        except BaseException:
            if not locked_before:
                (folder / LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # somebody has put something there meanwhile
                for path in made:
                    path.rmdir()
            raise


def _opened(folder: Path, name: str) -> int:
    """A descriptor of a lock file, which is made on first use. Raises `DataFolderUnusable`."""
    make_data_folder(folder)
    try:
        return os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"data folder {folder} cannot be written ({error.strerror}): choose another with --data-dir or TRENZA_DATA_DIR"
        raise DataFolderUnusable(message) from None


def _locked(folder: Path, *, shared: bool = False) -> int:
    """A descriptor that holds the lock, or a share of it. Raises as `lock_data_folder` does."""
    while True:
        descriptor = _opened(folder, LOCK)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise DataFolderInUse(_in_use(folder, holder)) from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), (folder / LOCK).stat()):
                return descriptor
        os.close(descriptor)  # whoever held it has removed the file: this one is nobody's any more


def _in_use(folder: Path, holder: str) -> str:
    """Who holds the lock: one process that has written its id, or several that share it."""
    own_folder = "give this one its own folder with --data-dir"
    if holder:
        return f"data folder {folder} is in use by process {holder}: stop it (kill {holder}), or {own_folder}"
    return f"data folder {folder} is in use by the processes of a deployment: stop them, or {own_folder}"
