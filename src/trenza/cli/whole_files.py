"""Files that get their name once they are whole; what a killed command left of one is removed by the next."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from trenza.chassis.held_folders import HeldFolder, sweep_left_behind
from trenza.cli.errors import Failure

__all__ = ["ended_in_order", "written_whole"]

_PREFIX: Final = ".trenza-backup-"


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: what it has written halfway holds keys, and is removed."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # only that one may set what a signal does
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def written_whole(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file for its owner alone (it holds keys) that gets its name once it is complete and on the disk.

    Beside it comes a folder on the same file system for what is needed meanwhile. It hides next to the target, and goes with the
    block; SIGKILL leaves it there until the next file is written into the same folder.
    """
    try:
        sweep_left_behind(target.parent, _PREFIX)
        held = HeldFolder(target.parent, _PREFIX)
    except OSError as error:
        raise Failure(f"{target} cannot be written ({error.strerror}): name a file in a folder that can") from None
    try:
        with held:
            partial = held.path / target.name
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as sink:
                yield sink, held.path
                sink.flush()
                os.fsync(sink.fileno())
            partial.rename(target)
    except OSError as error:
        raise Failure(f"{target} could not be written ({error.strerror}): free some space, or name another folder") from None
