"""Where a command writes what it has fetched: a file that appears whole, or whatever else the name stands for."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from trenza.cli.errors import Failure

__all__ = ["STANDARD_OUTPUT", "Output", "Written"]

STANDARD_OUTPUT = Path("-")


class Written:
    """What is being written; ``extension`` (with its dot) is for an output that has no name yet."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.extension = ""


class Output:
    """The target of ``-o``: a path, ``-`` for standard output, or None for a file that the command names itself."""

    def __init__(self, given: Path | None, *, default_stem: str) -> None:
        self._given = given
        self._stem = default_stem
        self.name: Path | None = None
        """The file that was made; None where it is standard output, a device or a pipe."""

    @contextmanager
    def opened(self) -> Iterator[Written]:
        """Write in the block.

        A regular file, also one behind a symbolic link, appears complete when the block ends and not at all when it raises.
        Devices and pipes are written through. Raises `Failure` where that cannot be done.
        """
        try:
            if self._given is not None and _is_standard_output(self._given):
                with _standard_output() as written:
                    yield written
            elif self._given is not None and _is_special(self._given):
                with self._given.open("wb", buffering=0) as file:
                    yield Written(file)
            else:
                with self._draft() as written:
                    yield written
        except OSError as error:
            target = self._given or Path.cwd()
            raise Failure(f"{target} cannot be written ({error.strerror}); choose another with -o") from None

    @contextmanager
    def _draft(self) -> Iterator[Written]:
        target = self._given.resolve() if self._given else None  # a link stays one: what it names is written
        if target is not None and target.is_dir():
            raise Failure(f"{self._given} is a folder; name a file in it with -o")
        folder = target.parent if target else Path.cwd()
        draft = folder / f".{self._stem}.{os.getpid()}.part"
        try:
            with draft.open("xb") as file:
                written = Written(file)
                yield written
            _keep_mode(target, draft)
            draft.replace(target or folder / f"{self._stem}{written.extension}")
            self.name = self._given or folder / f"{self._stem}{written.extension}"
        finally:
            draft.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Whether there is something under this name which is no regular file: a device, a pipe, a socket."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _keep_mode(target: Path | None, draft: Path) -> None:
    """The permissions of the file that is replaced."""
    if target is not None and target.exists():
        draft.chmod(stat.S_IMODE(target.stat().st_mode))


def _is_standard_output(path: Path) -> bool:
    """``-``, or a name of what standard output is already (``/dev/stdout``)."""
    if path == STANDARD_OUTPUT:
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # it does not exist, or standard output is none of the system's files
        return False


@contextmanager
def _standard_output() -> Iterator[Written]:
    try:
        sys.stdout.flush()
        yield Written(sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError:
        with suppress(OSError, ValueError):  # what waits in the buffer would fail once more when the process ends
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, sys.stdout.fileno())
            os.close(nothing)
        raise
