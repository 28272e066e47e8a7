"""Files that are made once, whoever comes first: keys, secrets and the like, found whole and the same by all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

__all__ = ["make_once", "sync_folder"]


def make_once(path: Path, content: bytes, *, draft: Path | None = None, mode: int = 0o600) -> None:
    """Write a file, by default readable by its owner only, unless there is one; either way it is on the disk afterwards.

    Any number of processes may do so at once: each writes a draft of its own, and the first to link it to the name wins. The
    draft lies beside the file, or where ``draft`` says, on the same file system. Raises ``OSError``.
    """
    draft = draft or path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        # Also when another was first: who finds the file goes on to promise things that must find it after a power cut.
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
