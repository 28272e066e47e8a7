"""The lock on a data folder: one process at a time serves from it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trenza.chassis.settings import CannotStart

__all__ = [
    "RESTORING",
    "DataFolderHalfRestored",
    "DataFolderInUse",
    "DataFolderUnusable",
    "lock_data_folder",
    "make_data_folder",
    "refuse_half_restored",
]


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
    """Hold ``<folder>/lock`` for the block. The kernel lets go of it however the process ends, SIGKILL included.

    Raises `DataFolderInUse` naming the holder's process id, and `DataFolderUnusable`.
    """
    make_data_folder(folder)
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"data folder {folder} cannot be written ({error.strerror}): choose another with --data-dir or TRENZA_DATA_DIR"
        raise DataFolderUnusable(message) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            remedy = f"stop it (kill {holder}), or give this one its own folder with --data-dir"
            message = f"data folder {folder} is in use by process {holder}: {remedy}"
            raise DataFolderInUse(message) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)
