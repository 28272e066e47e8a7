"""The size of an image, read from its header."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from trenza.chassis.testing.hostile_pictures import (
    FAKES,
    gif_bomb,
    jpeg_of_many_scans,
    jpeg_of_many_segments,
    png_bomb,
    png_of,
    tiff_of,
)
from trenza.chassis.testing.pictures import animation, encoded, marked, phone_photo
from trenza.services.images.headers import DamagedHeader, Header, HeaderError, NotAnImage, count_scans, read_header
from trenza.services.images.headers.reading import Budget
from trenza.services.images.headers.recognise import read_header_async

MEDIA = Path(__file__).parents[3] / "media"


def header_of(data: bytes, budget: Budget | None = None) -> Header:
    return read_header(lambda start, length: data[start : start + length], budget)


PICTURE = marked(123, 45)
SAMPLES = {
    "jpeg": encoded(PICTURE, "JPEG"),
    "jpeg progressive": encoded(PICTURE, "JPEG", progressive=True),
    "jpeg grey": encoded(PICTURE.convert("L"), "JPEG"),
    "jpeg cmyk": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "png": encoded(PICTURE, "PNG"),
    "png palette": encoded(PICTURE.convert("P"), "PNG"),
    "png 1-bit": encoded(PICTURE.convert("1"), "PNG"),
    "png 16-bit": encoded(PICTURE.convert("I;16"), "PNG"),
    "webp": encoded(PICTURE, "WebP"),
    "webp lossless": encoded(PICTURE, "WebP", lossless=True),
    "webp alpha": encoded(PICTURE.convert("RGBA"), "WebP", exact=True),
    "webp animated": animation(123, 45, "WebP"),
    "tiff": encoded(PICTURE, "TIFF"),
    "tiff big": encoded(PICTURE, "TIFF", big_tiff=True),
    "tiff LZW": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
    "bmp": encoded(PICTURE, "BMP"),
    "gif": encoded(PICTURE, "GIF"),
    "gif animated": animation(123, 45, "GIF"),
    "avif": encoded(PICTURE, "AVIF"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_size_and_format_of_each_kind_of_file(name: str) -> None:
    assert header_of(SAMPLES[name]) == Header(name.split(maxsplit=1)[0], 123, 45)


@pytest.mark.parametrize("name", SAMPLES)
async def test_remote_files_are_read_in_one_round_trip(name: str) -> None:
    data, reads = SAMPLES[name], []

    async def read(start: int, length: int) -> bytes:
        reads.append((start, length))
        return data[start : start + length]

    assert await read_header_async(read, len(data)) == header_of(data)
    assert len(reads) == 1


def test_heic_gives_the_size_as_stored() -> None:
    assert header_of((MEDIA / "phone.heic").read_bytes()) == Header("heic", 640, 480)


def test_jpeg_size_may_lie_megabytes_into_the_file() -> None:
    data = jpeg_of_many_segments(phone_photo(80, 60, orientation=1), 100)
    assert len(data) > 6_000_000
    budget = Budget()
    assert header_of(data, budget) == Header("jpeg", 80, 60)
    assert budget.spent_bytes < 4096, "segments are skipped, not read"


def test_jpeg_with_stray_and_fill_bytes_between_segments() -> None:
    data = SAMPLES["jpeg"]
    assert header_of(data[:2] + b"\xff\xff\xff" + data[2:])[1:] == (123, 45)
    assert header_of(data[:20] + bytes(10_000) + b"\xff\x00" + data[20:])[1:] == (123, 45)


def test_jpeg_of_endless_segments_is_given_up() -> None:
    with pytest.raises(DamagedHeader, match="more parts than any honest image"):
        header_of(jpeg_of_many_segments(SAMPLES["jpeg"], 5000, payload=0))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_both_byte_orders_and_a_directory_that_points_to_itself(order: str, *, big: bool) -> None:
    data = tiff_of({256: 700, 257: 500}, big=big, order=order, next_directory=16 if big else 8)
    assert header_of(data) == Header("tiff", 700, 500)


@pytest.mark.parametrize("entries", [{254: 1, 256: 160, 257: 120}, {256: 160, 257: 120, 50706: 0x0401}])
def test_camera_raw_files_are_not_taken_for_their_thumbnails(entries: dict[int, int]) -> None:
    with pytest.raises(NotAnImage, match="camera raw"):
        header_of(tiff_of(entries))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff_of({256: 700}), "does not give its size"),
        (tiff_of({}), "impossible number of entries"),
        (struct.pack("<2sHI", b"II", 42, 0xFFFFFFF0), "ends in the middle"),
        (struct.pack("<2sHHHQ", b"II", 43, 8, 0, 2**64 - 1), "points beyond its end"),
        (struct.pack("<2sHHHQ", b"II", 43, 4, 0, 16), "offset size that does not exist"),
        (SAMPLES["png"][:16] + b"\xff" + SAMPLES["png"][17:], "checksum"),
        (b"RIFF\x00\x00\x00\x00WEBPJUNK" + bytes(40), "first chunk"),
        (b"\x00\x00\x00\x10ftypavif" + bytes(4) + b"\x00\x00\x00\x04free", "impossible length"),
        (b"\x00\x00\x00\x10ftypavif" + bytes(4) + b"\x7f\xff\xff\xffmeta", "larger than any honest image"),
        (b"\xff\xd8\xff\xe0\x00\x01", "impossible length"),
        (b"\xff\xd8\xff\xda\x00\x08", "pixels begin before"),
    ],
)
def test_broken_headers_say_what_is_broken(data: bytes, reason: str) -> None:
    with pytest.raises(DamagedHeader, match=reason):
        header_of(data)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_truncation_of_a_header_is_refused_or_right(name: str) -> None:
    data = SAMPLES[name]
    for length in range(min(len(data), 700)):
        try:
            assert header_of(data[:length])[1:] == (123, 45)
        except HeaderError:
            continue


@pytest.mark.parametrize(
    ("name", "stranger"),
    [
        ("text", "it is a text, not an image"),
        ("pdf", "a PDF document"),
        ("svg", "an SVG drawing"),
        ("html", "an HTML page"),
        ("zip", "a ZIP archive"),
        ("video", "a video"),
        ("camera raw", "camera raw"),
        ("zeros", "not an image of a known format"),
        ("empty", "empty"),
    ],
)
def test_what_is_no_image_is_named(name: str, stranger: str) -> None:
    with pytest.raises(NotAnImage, match=stranger):
        header_of(FAKES[name])


@pytest.mark.parametrize(
    "data",
    [
        "¿Dónde está el año? …\n".encode() * 90,
        "Día\n".encode("utf-16"),
        b"\xfe\xff" + "Señal\n".encode("utf-16-be"),
        "x€".encode() * 200,
    ],
    ids=["utf-8", "utf-16", "utf-16 big-endian", "cut inside of a character"],
)
def test_texts_are_told_in_any_encoding(data: bytes) -> None:
    with pytest.raises(NotAnImage, match="it is a text, not an image"):
        header_of(data)


@pytest.mark.parametrize(
    ("data", "name"),
    [(b"\xff\x4f\xff\x51" + bytes(40), "a JPEG 2000 image"), (b"\0\0\1\0\1\0" + bytes(40), "a Windows icon or cursor")],
)
def test_pictures_of_other_formats_are_not_called_no_images(data: bytes, name: str) -> None:
    with pytest.raises(NotAnImage, match=f"it is {name}, which is not supported"):
        header_of(data)


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({258: 32}, "32-bit unsigned samples"),
        ({258: 32, 339: 2}, "32-bit signed samples"),
        ({258: 16, 339: 2}, "16-bit signed samples"),
        ({258: 32, 339: 3, 262: 2}, "32-bit floating-point samples"),
        ({258: 64, 339: 6}, "64-bit complex samples"),
        ({259: 50000}, "Zstandard compression"),
        ({259: 34925}, "LZMA compression"),
        ({259: 12345}, "number 12345 compression"),
    ],
)
@pytest.mark.parametrize("big", [False, True])
def test_tiff_that_cannot_be_shown_rightly_is_not_supported(entries: dict[int, int], what: str, *, big: bool) -> None:
    with pytest.raises(NotAnImage, match=what):
        header_of(tiff_of({256: 700, 257: 500, **entries}, big=big))


def test_animated_avif_is_not_supported() -> None:
    with pytest.raises(NotAnImage, match="animated AVIF"):
        header_of(animation(64, 48, "AVIF"))


@pytest.mark.parametrize(
    ("name", "count"), [("jpeg", 1), ("jpeg progressive", 10), ("jpeg grey", 1), ("jpeg cmyk", 1), ("many", 37)]
)
def test_scans_are_counted(name: str, count: int, tmp_path: Path) -> None:
    data = jpeg_of_many_scans(80, 60, 37) if name == "many" else SAMPLES[name]
    preview = b"\xff\xe2" + struct.pack(">H", len(data) + 2) + data
    path = tmp_path / "photo.jpg"
    path.write_bytes(data[:2] + preview + data[2:] + data)
    assert count_scans(path, 99) == count, "neither the preview's nor those of a second image behind the first"
    assert count_scans(path, count - 1) == count
    path.write_bytes(data[:2] + bytes(9_000) + data[2:])
    assert count_scans(path, 99) == count


def test_bombs_tell_their_true_size() -> None:
    assert header_of(png_bomb(60_000, 60_000)) == Header("png", 60_000, 60_000)
    assert header_of(gif_bomb()) == Header("gif", 65_535, 65_535)
    assert header_of(png_of(0, 7, b"")) == Header("png", 0, 7)


@pytest.mark.parametrize(("size", "layout"), [(12, "<HH"), (40, "<ii"), (124, "<ii")])
def test_bmp_of_every_header_version(size: int, layout: str) -> None:
    data = b"BM" + bytes(12) + struct.pack("<I", size) + struct.pack(layout, 30, 20) + bytes(size)
    assert header_of(data) == Header("bmp", 30, 20)


def test_bmp_stored_from_the_top_has_a_negative_height() -> None:
    data = b"BM" + bytes(12) + struct.pack("<Iii", 40, 30, -20) + bytes(40)
    assert header_of(data) == Header("bmp", 30, 20)
