"""Folders that one process works in: a lock that ends with the process tells what a dead one has left behind."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

if sys.platform != "win32":
    import fcntl

__all__ = ["KEPT_SECONDS", "HeldFolder", "sweep_left_behind"]

KEPT_SECONDS = 24 * 3600.0
"""Where no lock tells: what nobody has written for a day was left behind; no upload, job or backup takes that long."""
_ATTEMPTS = 16


class HeldFolder:
    """A fresh folder, for its owner alone, that `sweep_left_behind` leaves alone for as long as this process lives.

    The kernel lets go of the lock however the process ends, SIGKILL included. As a context manager it goes with all that
    is in it.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        """Make it. Raises ``OSError``."""
        for _ in range(_ATTEMPTS):
            self.path = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
            with suppress(
                BlockingIOError, FileNotFoundError
            ):  # somebody sweeps, and took it for one of the dead before it was held
                self._descriptor = _lock(self.path)
                if self.path.is_dir():
                    return
                self.let_go()
        raise FileNotFoundError(2, "a folder that was just made keeps disappearing", str(parent))

    def let_go(self) -> None:
        """Remove the folder if it is empty, and hold it no longer: what is still in it is left to be swept."""
        with suppress(OSError):
            self.path.rmdir()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.let_go()


def sweep_left_behind(parent: Path, prefix: str) -> None:
    """Remove the held folders of processes that have ended. What cannot be removed now is left to the next sweep."""
    for path in parent.glob(f"{prefix}*"):
        with suppress(OSError):  # held by a live process, somebody else's, gone meanwhile, or no folder
            descriptor = _lock(path)
            try:
                if descriptor is not None or time.time() - _last_written(path) > KEPT_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                if descriptor is not None:
                    os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None where there are no locks of folders, as on Windows and some networks.

    Raises `BlockingIOError` where another holds it.
    """
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return descriptor


def _last_written(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
