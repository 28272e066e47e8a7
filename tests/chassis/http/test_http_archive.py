"""ZIP archives made while they are sent."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from trenza.chassis.http.archive import ArchiveEntry, archive, safe_name

MADE = datetime(2026, 5, 31, 14, 30, 10, tzinfo=UTC)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def entries(*given: tuple[str, bytes]) -> AsyncIterator[ArchiveEntry]:
    for name, content in given:
        yield ArchiveEntry(name, len(content), MADE, chunks(content[:3], content[3:]))


async def test_names_are_unique_for_systems_that_ignore_case() -> None:
    made = b"".join([part async for part in archive(entries(("a.jpg", b"first"), ("A.JPG", b"second"), ("a.jpg", b"third")))])
    opened = zipfile.ZipFile(io.BytesIO(made))
    assert opened.testzip() is None
    assert {name: opened.read(name) for name in opened.namelist()} == {
        "a.jpg": b"first",
        "A-2.JPG": b"second",
        "a-3.jpg": b"third",
    }
    assert opened.infolist()[0].date_time == (2026, 5, 31, 14, 30, 10)


@pytest.mark.timeout(60)  # counting up for each of them took two minutes
async def test_ten_thousand_files_of_one_name_are_named_in_no_time() -> None:
    names = [("image.jpg", b"")] * 10_000 + [("image-10002.jpg", b""), ("image.jpg", b""), ("image.jpg", b"")]
    made = b"".join([part async for part in archive(entries(*names))])
    given = zipfile.ZipFile(io.BytesIO(made)).namelist()
    assert len(set(given)) == len(names)
    assert given[-3:] == ["image-10002.jpg", "image-10001.jpg", "image-10003.jpg"]


async def test_an_empty_archive_is_one() -> None:
    made = b"".join([part async for part in archive(entries())])
    assert zipfile.ZipFile(io.BytesIO(made)).namelist() == []


async def test_memory_stays_the_same_however_large_it_is() -> None:
    block = bytes(1024 * 1024)

    async def large() -> AsyncIterator[ArchiveEntry]:
        for number in range(4):
            yield ArchiveEntry(f"{number}.jpg", 20 * len(block), MADE, chunks(*[block] * 20))

    tracemalloc.start()
    try:
        size = sum([len(part) async for part in archive(large())])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 80 * len(block)
    assert peak < 8 * len(block)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("muro norte.jpg", "muro norte.jpg"),
        ("../../etc/passwd", "_._etc_passwd"),
        (r"C:\fotos\a.jpg", "C__fotos_a.jpg"),
        ("nul.jpg", "_nul.jpg"),
        ("COM1", "_COM1"),
        (".hidden", "hidden"),
        ("a\x00b\n.jpg", "ab.jpg"),
        ("...", "file"),
        ("", "file"),
        ("x" * 300 + ".jpg", "x" * 116 + ".jpg"),
        ("x" * 300, "x" * 120),
        ("Año.jpg", "Año.jpg"),
    ],
)
def test_names_are_safe_to_unpack(name: str, safe: str) -> None:
    assert safe_name(name) == safe
