"""Calls the libjpeg-turbo in Pillow's wheel for what no Python package offers: planes in, planes out, chosen scans.

libjpeg's contract is that its ``error_exit`` never returns; C programs leave it by longjmp, which Python cannot. So a fatal error
ends the process, after a last word: use this only in a process that may end (decision 0008). What libjpeg merely warns of is
raised as `Damaged`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_int, c_ubyte, c_uint, c_ulong, c_void_p
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final, NamedTuple

import PIL

from trenza.services.images.planes.samples import Samples
from trenza.services.images.planes.structures import Compress, Decompress, Errors, FormatMessage, OnError, Scan
from trenza.services.images.planes.tables import AC_COLOUR, AC_LUMA, DC_COLOUR, DC_LUMA

__all__ = ["FATAL", "Damaged", "LibJpeg", "Plane"]

FATAL = 70
"""The exit status after a fatal error, should the last word fail."""
_VERSION: Final = 62
_GREY, _YCBCR = 1, 3
_BLOCK = 8
_ADDRESS: Final = "L"
"""The type of an array of addresses (``unsigned long`` is as wide as a pointer on Linux and macOS)."""
_MESSAGE_BYTES = 200  # JMSG_LENGTH_MAX

_SCANS: Final = (Scan * 4)(
    Scan(3, (c_int * 4)(0, 1, 2), (c_int * 4)(0, 0, 0, 0)),
    Scan(1, (c_int * 4)(0), (c_int * 4)(1, 63, 0, 0)),
    Scan(1, (c_int * 4)(1), (c_int * 4)(1, 63, 0, 0)),
    Scan(1, (c_int * 4)(2), (c_int * 4)(1, 63, 0, 0)),
)
"""Means of the blocks, luma, the two colours. Each scan more costs a pass over the image (decision 0017)."""
_TOLD_SCANS: Final = len(_SCANS) // 2
"""libjpeg plans two passes for each progressive scan: one to make its tables, one to write. We only write."""


class Damaged(Exception):
    """libjpeg had to guess, or this is not what the caller took it for."""


class Plane(NamedTuple):
    """One decoded component: rows of ``stride`` bytes from ``start`` of the buffer, of which ``width`` x ``height`` count."""

    start: int
    stride: int
    width: int
    height: int
    coarse: tuple[float, float]
    """Samples for one of the finest component, across and down."""


class LibJpeg:
    """The library. ``last_word`` is called with libjpeg's message before a fatal error ends the process."""

    def __init__(self, last_word: Callable[[str], None]) -> None:
        """Load the library; raises OSError where there is none, and AttributeError where it is another one."""
        self._library = _load()
        self._last_word = last_word
        self._errors = Errors()
        # libjpeg keeps their addresses: they must live as long as it may call them.
        self._on_fatal, self._on_message = OnError(self._end), OnError(lambda _info: None)
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = [c_void_p]

    def decode(
        self, data: bytes, eighths: int, room: Callable[[int], bytearray], *, width: int, height: int
    ) -> tuple[bytearray, list[Plane]]:
        """The planes of a grey or YCbCr image of ``width`` x ``height``, at ``eighths`` of its size.

        ``room`` gives memory for so many bytes. Where the colours are coarser than the luma, scaling leaves them at more than
        ``eighths`` of theirs. Raises `Damaged`.
        """
        library, info = self._library, Decompress()
        with self._session(info):
            library.jpeg_CreateDecompress(byref(info), _VERSION, ctypes.sizeof(info))
            library.jpeg_mem_src(byref(info), data, len(data))
            library.jpeg_read_header(byref(info), 1)
            if (info.num_components, info.jpeg_color_space) not in ((1, _GREY), (3, _YCBCR)):
                raise Damaged("neither grey nor YCbCr")
            if (info.image_width, info.image_height) != (width, height):
                raise Damaged("two frame headers")
            info.scale_num, info.scale_denom, info.raw_data_out, info.fancy_upsampling = eighths, _BLOCK, 1, 0
            info.out_color_space = info.jpeg_color_space
            library.jpeg_start_decompress(byref(info))
            planes, steps, size = _layout(info)
            buffer = room(size)
            view = (c_ubyte * size).from_buffer(buffer)
            groups = -(-height // (_BLOCK * info.max_v))
            rows = [
                _addresses(ctypes.addressof(view) + plane.start, plane.stride, groups * step, groups * step)
                for plane, step in zip(planes, steps, strict=True)
            ]
            lines = info.max_v * info.min_scaled_size
            for at in _groups(rows, steps):
                if info.output_scanline >= info.output_height:
                    break
                self._refuse_warnings()  # before each group: what is damaged need not be decoded to its end
                library.jpeg_read_raw_data(byref(info), at, lines)
            library.jpeg_finish_decompress(byref(info))
            self._refuse_warnings()
            return buffer, planes

    def encode(self, planes: Sequence[Samples], width: int, height: int, quality: int, *, progressive: bool = True) -> bytes:
        """A 4:2:0 JPEG. Rows of the planes are padded to a multiple of 8; colours have half the rows, rounded up."""
        library, info = self._library, Compress()
        output, length = c_void_p(), c_ulong()
        try:
            with self._session(info):
                library.jpeg_CreateCompress(byref(info), _VERSION, ctypes.sizeof(info))
                library.jpeg_mem_dest(byref(info), byref(output), byref(length))
                info.image_width, info.image_height, info.input_components, info.in_color_space = width, height, 3, _YCBCR
                library.jpeg_set_defaults(byref(info))
                library.jpeg_set_quality(byref(info), quality, 1)
                info.raw_data_in = 1
                if progressive:
                    _start_progressive(library, info)
                else:
                    library.jpeg_start_compress(byref(info), 1)
                half, steps, groups = (height + 1) // 2, [2 * _BLOCK, _BLOCK, _BLOCK], -(-height // (2 * _BLOCK))
                rows = [
                    _addresses(plane.address, plane.stride, many, groups * step)
                    for plane, many, step in zip(planes, (height, half, half), steps, strict=True)
                ]
                for at in _groups(rows, steps):
                    library.jpeg_write_raw_data(byref(info), at, 2 * _BLOCK)
                library.jpeg_finish_compress(byref(info))
                return ctypes.string_at(output.value or 0, length.value)
        finally:
            self._free(output)

    @contextmanager
    def _session(self, info: Any) -> Iterator[None]:
        """One (de)compressor's life, with its errors handled here."""
        self._library.jpeg_std_error(byref(self._errors))
        self._errors.error_exit = ctypes.cast(self._on_fatal, c_void_p)
        self._errors.output_message = ctypes.cast(self._on_message, c_void_p)
        info.err = ctypes.pointer(self._errors)
        try:
            yield
        finally:
            self._library.jpeg_destroy(byref(info))

    def _refuse_warnings(self) -> None:
        if self._errors.warnings:
            raise Damaged("libjpeg warned of the data")

    def _end(self, info: int) -> None:
        """Say why, and end this process: returning to libjpeg would let it go on where it cannot."""
        try:
            text = ctypes.create_string_buffer(_MESSAGE_BYTES)
            FormatMessage(self._errors.format_message)(info, text)
            self._last_word(text.value.decode("latin-1"))
        finally:
            os._exit(FATAL)


def _load() -> ctypes.CDLL:
    """The library of Pillow's wheel, or the system's where Pillow was built for that."""
    beside = Path(PIL.__file__).parent
    found = sorted([*beside.parent.glob("pillow.libs/libjpeg-*.so.62*"), *beside.glob(".dylibs/libjpeg.62*.dylib")])
    library = ctypes.CDLL(str(found[0]) if found else "libjpeg.62.dylib" if sys.platform == "darwin" else "libjpeg.so.62")
    library.jpeg_std_error.restype = c_void_p
    for name, *arguments in (
        ("jpeg_std_error", c_void_p), ("jpeg_destroy", c_void_p),
        ("jpeg_CreateDecompress", c_void_p, c_int, ctypes.c_size_t), ("jpeg_mem_src", c_void_p, c_char_p, c_ulong),
        ("jpeg_read_header", c_void_p, c_int), ("jpeg_start_decompress", c_void_p),
        ("jpeg_read_raw_data", c_void_p, c_void_p, c_uint), ("jpeg_finish_decompress", c_void_p),
        ("jpeg_CreateCompress", c_void_p, c_int, ctypes.c_size_t), ("jpeg_mem_dest", c_void_p, c_void_p, c_void_p),
        ("jpeg_set_defaults", c_void_p), ("jpeg_set_quality", c_void_p, c_int, c_int), ("jpeg_start_compress", c_void_p, c_int),
        ("jpeg_write_raw_data", c_void_p, c_void_p, c_uint), ("jpeg_finish_compress", c_void_p),
    ):  # fmt: skip
        getattr(library, name).argtypes = arguments
    return library


def _start_progressive(library: ctypes.CDLL, info: Compress) -> None:
    """Start a progressive image with the tables of `tables`.

    libjpeg insists on tables of its own for progressive images (jcmaster.c) and would go over each scan twice. So it is told of
    half as many scans, which makes as many passes as there are scans; and once it has started, the first pass is prepared anew,
    to write rather than to count.
    """
    for slots, slot, table in (
        (info.dc_tables, 0, DC_LUMA),
        (info.dc_tables, 1, DC_COLOUR),
        (info.ac_tables, 0, AC_LUMA),
        (info.ac_tables, 1, AC_COLOUR),
    ):
        slots[slot].contents.lengths[:] = (0, *table.lengths)
        slots[slot].contents.symbols[: len(table.symbols)] = table.symbols
    info.scans, info.num_scans = _SCANS, _TOLD_SCANS
    library.jpeg_start_compress(byref(info), 1)
    info.optimize_coding = 0
    info.master.contents.prepare_for_pass(ctypes.addressof(info))


def _layout(info: Decompress) -> tuple[list[Plane], list[int], int]:
    """Where each plane goes in one buffer, how many of its rows come at a time, and the size of the buffer."""
    planes, steps, size = list[Plane](), list[int](), 0
    groups = -(-info.image_height // (_BLOCK * info.max_v))
    for part in info.components[: info.num_components]:
        step, stride = part.v * part.scaled_size, part.width_in_blocks * part.scaled_size
        finest = info.min_scaled_size
        coarse = part.h * part.scaled_size / (info.max_h * finest), step / (info.max_v * finest)
        planes.append(Plane(size, stride, part.width, part.height, coarse))
        steps.append(step)
        size += stride * groups * step
    return planes, steps, size


def _addresses(start: int, stride: int, rows: int, count: int) -> array[int]:
    """The addresses of ``count`` rows, of which those beyond ``rows`` repeat the last."""
    last = start + stride * (rows - 1)
    # An array of Python's: ctypes takes seven times as long to fill one of its own.
    return array(_ADDRESS, chain(range(start, last + 1, stride), repeat(last, count - rows)))


def _groups(rows: Sequence[array[int]], steps: Sequence[int]) -> Iterator[int]:
    """The address of the array of arrays of rows that libjpeg asks for, for one row of blocks after the other."""
    width = ctypes.sizeof(c_void_p)
    parts = [(part.buffer_info()[0], step * width) for part, step in zip(rows, steps, strict=True)]
    count = len(rows[0]) // steps[0]
    table = array(_ADDRESS, (start + step * group for group in range(count) for start, step in parts))
    start, _ = table.buffer_info()
    yield from range(start, start + count * len(parts) * width, len(parts) * width)
