"""The folder of bytes on their way in or out: uploads before they are objects, downloads for programs that need a file."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

__all__ = ["Spool", "discard"]

KEPT_SECONDS = 24 * 3600.0
"""A file that nobody has written for a day was left by a crash; no upload or job takes that long."""


def discard(path: Path) -> None:
    """Remove a file of the spool, if it is there. What cannot be removed now, as the disk became read-only, is swept later.

    So that the tidying up does not hide the error that made it necessary.
    """
    with suppress(OSError):
        path.unlink(missing_ok=True)


class Spool:
    """Fresh file names in one folder, which is made when needed and swept of what crashes left behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()

    def new_file(self, suffix: str = "") -> Path:
        """A path that nobody else has; the file is not made."""
        return self.folder / f"{uuid4().hex}{suffix}"

    def _sweep(self) -> None:
        oldest = time.time() - KEPT_SECONDS
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # other processes take their files away, or sweep at the same moment
                    if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                        Path(entry.path).unlink()
