"""The folder of bytes on their way in or out: uploads before they are objects, downloads for programs that need a file."""

from __future__ import annotations

import os
import time
import weakref
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from trenza.chassis.held_folders import KEPT_SECONDS, HeldFolder, sweep_left_behind

__all__ = ["Spool", "discard"]

_PREFIX = "of-"


def discard(path: Path) -> None:
    """Remove a file of the spool, if it is there. What cannot be removed now, as the disk became read-only, is swept later.

    So that the tidying up does not hide the error that made it necessary.
    """
    with suppress(OSError):
        path.unlink(missing_ok=True)


class Spool:
    """Fresh file names in a folder of this process alone, below one that processes share.

    The shared one is swept of what dead processes left behind, which a lock tells from what live ones write. Where no folder of
    its own can be made, as on a full disk, the names lie in the shared one, whose files are swept when they are a day old.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep_left_behind(folder, _PREFIX)
        self._sweep_old_files()
        self._own = self._hold()

    def new_file(self, suffix: str = "") -> Path:
        """A path that nobody else has; the file is not made."""
        if self._own is None or not self._own.path.is_dir():  # somebody may have emptied the shared folder by hand
            self._own = self._hold()
        return (self._own.path if self._own else self.folder) / f"{uuid4().hex}{suffix}"

    def _hold(self) -> HeldFolder | None:
        with suppress(OSError):
            held = HeldFolder(self.folder, _PREFIX)
            weakref.finalize(self, held.let_go)
            return held
        return None

    def _sweep_old_files(self) -> None:
        oldest = time.time() - KEPT_SECONDS
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # other processes take their files away, or sweep at the same moment
                    if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                        Path(entry.path).unlink()
