"""Where the samples of a plane lie in memory: lent by Pillow through Arrow's C data interface, so that nothing is copied."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int64, c_void_p
from typing import ClassVar, Final, NamedTuple

from PIL import Image

__all__ = ["Samples", "samples_in", "samples_of"]


class Samples(NamedTuple):
    """Rows of ``stride`` bytes from ``address`` on, which are there for as long as ``owner`` is."""

    address: int
    stride: int
    owner: object


class _ArrowArray(ctypes.Structure):
    """``struct ArrowArray`` up to its buffers: the first says what is missing (here nothing), the second holds the values."""

    _fields_: ClassVar = [
        ("length", c_int64), ("null_count", c_int64), ("offset", c_int64), ("n_buffers", c_int64), ("n_children", c_int64),
        ("buffers", POINTER(c_void_p)),
    ]  # fmt: skip


_VALUES: Final = 1
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = c_void_p, [ctypes.py_object, c_char_p]


def samples_of(plane: Image.Image) -> Samples:
    """Those of a plane of bytes, as long as it is not changed. What Pillow cannot lend is copied."""
    try:
        # An image in several blocks of memory (16 MiB each) cannot be lent.
        _, capsule = plane.__arrow_c_array__()
    except ValueError:
        return samples_in(plane.tobytes(), plane.width)
    array = _ArrowArray.from_address(_pointer(capsule, b"arrow_array"))
    if array.length != plane.width * plane.height or array.offset:
        return samples_in(plane.tobytes(), plane.width)
    return Samples(array.buffers[_VALUES], plane.width, capsule)


def samples_in(data: bytes, stride: int) -> Samples:
    """Those in rows of bytes."""
    return Samples(ctypes.cast(c_char_p(data), c_void_p).value or 0, stride, data)
