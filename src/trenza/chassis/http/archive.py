"""ZIP archives made while they are sent: constant memory however large, nothing on disk."""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

__all__ = ["ArchiveEntry", "archive", "safe_name"]

_LONGEST_NAME = 120
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""What Windows takes for a device, whatever its extension."""
_ZIP_EPOCH = 1980
_ZIP_END = 2108
_FILE_MODE = 0o644 << 16


@dataclass(frozen=True)
class ArchiveEntry:
    """One file of an archive: the name it should have, its size in bytes, when it was made, and its bytes."""

    name: str
    size: int
    modified: datetime
    content: AsyncIterator[bytes]


async def archive(entries: AsyncIterator[ArchiveEntry]) -> AsyncGenerator[bytes]:
    """The bytes of a ZIP archive (stored, not deflated: photographs are compressed already; ZIP64 where it must be).

    Names are made safe, and unique by a number. What an entry's content raises ends the archive, so that the client cannot take
    a part for the whole.
    """
    pipe, taken = _Pipe(), dict[str, int]()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as file:
        async for entry in entries:
            info = zipfile.ZipInfo(_unique(safe_name(entry.name), taken), _timestamp(entry.modified))
            info.external_attr = _FILE_MODE
            info.file_size = entry.size  # decides whether the entry needs ZIP64
            async with aclosing(entry.content) as content:  # type: ignore[type-var]  # every store's stream is an async generator
                with file.open(info, "w") as opened:
                    async for chunk in content:
                        opened.write(chunk)
                        yield pipe.take()
            yield pipe.take()
    yield pipe.take()


def safe_name(name: str) -> str:
    """A file name that every system can unpack where it is told to: no folders, no device, no hidden file, not too long."""
    printable = "".join(char for char in unicodedata.normalize("NFC", name) if unicodedata.category(char)[0] != "C")
    plain = _FORBIDDEN.sub("_", printable).strip(" .") or "file"
    stem, dot, extension = plain.rpartition(".")
    if dot and len(extension) < _LONGEST_NAME // 2:
        plain = f"{stem[: _LONGEST_NAME - len(extension) - 1].rstrip(' .')}.{extension}"
    else:
        plain = plain[:_LONGEST_NAME]
    return f"_{plain}" if _DEVICES.fullmatch(plain) else plain


def _unique(name: str, taken: dict[str, int]) -> str:
    """The name with a number where another file has it already; systems that ignore case are thought of.

    ``taken`` has the last number given to each name: phones call thousands of photos image.jpg, and counting up from one for
    each of them would take minutes.
    """
    stem, dot, extension = name.rpartition(".")
    candidate, number = name, taken.get(name.casefold(), 0)
    while number:
        number += 1
        candidate = f"{stem}-{number}.{extension}" if dot else f"{name}-{number}"
        if candidate.casefold() not in taken:
            break
    taken[candidate.casefold()] = 1
    taken[name.casefold()] = max(number, 1)
    return candidate


def _timestamp(moment: datetime) -> tuple[int, int, int, int, int, int]:
    """A moment as ZIP can say it: from 1980 to 2107."""
    year = min(max(moment.year, _ZIP_EPOCH), _ZIP_END - 1)
    return year, moment.month, moment.day, moment.hour, moment.minute, moment.second


class _Pipe(io.RawIOBase):
    """What `zipfile` writes to, and what has been written since somebody last looked. It cannot be wound back."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: object, /) -> int:
        """Keep the bytes until they are taken."""
        view = memoryview(data)  # type: ignore[arg-type]  # typeshed's ReadableBuffer, which zipfile keeps to
        self._waiting += view
        return view.nbytes

    def take(self) -> bytes:
        """The bytes written since the last time."""
        taken, self._waiting = bytes(self._waiting), bytearray()
        return taken
