"""The structures of libjpeg's 6.2 interface (jpeglib.h), as far as they are used; the rest of each is named together.

Their layout has been frozen since 1998, and libjpeg compares their sizes with its own before it does anything. ``_`` leads names
of what only libjpeg looks at.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_int, c_long, c_ubyte, c_uint, c_void_p
from typing import Any, ClassVar, Final

__all__ = ["Component", "Compress", "Decompress", "Errors", "FormatMessage", "HuffmanTable", "Master", "OnError", "Scan"]

OnError = ctypes.CFUNCTYPE(None, c_void_p)
"""``error_exit`` and ``output_message``: they get the address of the (de)compressor."""
FormatMessage = ctypes.CFUNCTYPE(None, c_void_p, c_char_p)
PreparePass = ctypes.CFUNCTYPE(None, c_void_p)


class Errors(ctypes.Structure):
    """``jpeg_error_mgr``: what to call on errors, and how many warnings there were."""

    _fields_: ClassVar = [
        ("error_exit", c_void_p), ("emit_message", c_void_p), ("output_message", c_void_p), ("format_message", c_void_p),
        ("_reset", c_void_p), ("code", c_int), ("_parameters", c_ubyte * 80), ("_trace_level", c_int), ("warnings", c_long),
        ("_message_tables", c_ubyte * 32),
    ]  # fmt: skip


class Component(ctypes.Structure):
    """``jpeg_component_info``: one plane. ``h`` and ``v`` are sampling factors; width and height are those after scaling."""

    _fields_: ClassVar = [
        ("id", c_int), ("index", c_int), ("h", c_int), ("v", c_int), ("_tables", c_int * 3), ("width_in_blocks", c_uint),
        ("height_in_blocks", c_uint), ("scaled_size", c_int), ("width", c_uint), ("height", c_uint), ("_rest", c_ubyte * 48),
    ]  # fmt: skip


class Scan(ctypes.Structure):
    """``jpeg_scan_info``: which components a progressive scan holds, and Ss, Se, Ah, Al of their band."""

    _fields_: ClassVar = [("count", c_int), ("components", c_int * 4), ("band", c_int * 4)]


class HuffmanTable(ctypes.Structure):
    """``JHUFF_TBL``: ``lengths`` counts the codes by their bits, from 0; whether the table ``is_sent`` already."""

    _fields_: ClassVar = [("lengths", c_ubyte * 17), ("symbols", c_ubyte * 256), ("is_sent", c_int)]


class Master(ctypes.Structure):
    """The beginning of ``jpeg_comp_master`` (jpegint.h), which goes through the passes of a compression."""

    _fields_: ClassVar = [("prepare_for_pass", PreparePass)]


_COMMON: Final[list[Any]] = [
    ("err", POINTER(Errors)), ("_mem", c_void_p), ("_progress", c_void_p), ("_client", c_void_p), ("_is_decompressor", c_int),
    ("_state", c_int), ("_stream", c_void_p), ("image_width", c_uint), ("image_height", c_uint),
]  # fmt: skip
_TABLES: Final[list[Any]] = [
    ("_quantisation", c_void_p * 4),
    ("dc_tables", POINTER(HuffmanTable) * 4),
    ("ac_tables", POINTER(HuffmanTable) * 4),
]


class Decompress(ctypes.Structure):
    """``jpeg_decompress_struct``."""

    _fields_: ClassVar = [
        *_COMMON, ("num_components", c_int), ("jpeg_color_space", c_int), ("out_color_space", c_int), ("scale_num", c_uint),
        ("scale_denom", c_uint), ("_gamma", c_double), ("_buffered", c_int), ("raw_data_out", c_int), ("_dct_method", c_int),
        ("fancy_upsampling", c_int), ("_block_smoothing", c_int), ("_colours", c_int * 7), ("output_width", c_uint),
        ("output_height", c_uint), ("_sizes", c_int * 4), ("_colormap", c_void_p), ("output_scanline", c_uint),
        ("_position", c_int * 4), ("_coef_bits", c_void_p), *_TABLES, ("precision", c_int), ("components", POINTER(Component)),
        ("progressive_mode", c_int), ("_markers", c_ubyte * 92), ("max_h", c_int), ("max_v", c_int), ("min_scaled_size", c_int),
        ("_private", c_ubyte * 212),
    ]  # fmt: skip


class Compress(ctypes.Structure):
    """``jpeg_compress_struct``."""

    _fields_: ClassVar = [
        *_COMMON, ("input_components", c_int), ("in_color_space", c_int), ("_gamma", c_double), ("_precision", c_int),
        ("_num_components", c_int), ("_jpeg_color_space", c_int), ("_components", POINTER(Component)), *_TABLES,
        ("_arithmetic", c_ubyte * 48), ("num_scans", c_int), ("scans", POINTER(Scan)), ("raw_data_in", c_int),
        ("_arith_code", c_int), ("optimize_coding", c_int), ("_ccir601", c_int), ("_smoothing", c_int), ("_dct_method", c_int),
        ("_restarts", c_int * 2), ("_write_jfif", c_int), ("_jfif", c_ubyte * 8), ("_write_adobe", c_int),
        ("next_scanline", c_uint), ("_image", c_int * 5), ("_in_scan", c_void_p * 4), ("_scan", c_int * 17),
        ("master", POINTER(Master)), ("_modules", c_void_p * 9), ("_script_size", c_int),
    ]  # fmt: skip
