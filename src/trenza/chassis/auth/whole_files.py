"""Files of keys, which appear complete and survive a power cut."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["create_once", "sync_folder"]


def create_once(path: Path, content: bytes, *, mode: int) -> None:
    """Write the content beside its place and link it there: the link fails where another process was first, whose file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make names in it durable: tokens signed before a power cut must verify after it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
