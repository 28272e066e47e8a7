"""Tries the fast path out once when a worker starts, in a process of its own: a library that does not fit may crash it."""

from __future__ import annotations

import os
import signal
import traceback
from typing import Final

from PIL import Image

from trenza.services.images.planes.libjpeg import LibJpeg
from trenza.services.images.planes.samples import samples_in
from trenza.services.images.planes.scaling import Planes, scale

__all__ = ["try_out"]

_SECONDS = 20
"""A trial takes milliseconds; this is for machines under heavy load."""
_WIDTH, _HEIGHT = 48, 33
_PLAIN: Final = (90, 160, 70)
_TOLERANCE = 3
_ROOM_FILL = 0x55
_WRONG, _RAISED = 1, 2


def try_out() -> str:
    """What keeps the fast path from working here; empty when it works. Call it before there are threads."""
    child = os.fork()
    if child == 0:
        _end_with_result()
    _, status = os.waitpid(child, 0)
    if status == 0:
        return ""
    return f"the trial of libjpeg and the resizer ended with {os.waitstatus_to_exitcode(status)}"


def _end_with_result() -> None:
    """The child's work; whatever happens, it does not come back."""
    signal.alarm(_SECONDS)
    status = _RAISED
    try:
        status = 0 if _round_trip() else _WRONG
    except Exception:  # noqa: BLE001 - the parent cannot catch it; its caller keeps what stands on standard error
        traceback.print_exc()
    finally:
        os._exit(status)


def _round_trip() -> bool:
    """Whether a plain picture comes through encoder, decoder and resizer as it was."""
    codec = LibJpeg(lambda _message: None)
    sizes = ((_WIDTH, _HEIGHT), (_WIDTH // 2, (_HEIGHT + 1) // 2), (_WIDTH // 2, (_HEIGHT + 1) // 2))
    planes = [samples_in(bytes([value]) * (width * height), width) for value, (width, height) in zip(_PLAIN, sizes, strict=True)]
    data = codec.encode(planes, _WIDTH, _HEIGHT, 90)
    memory, found = codec.decode(data, 8, lambda size: bytearray([_ROOM_FILL]) * size, width=_WIDTH, height=_HEIGHT)
    if [(plane.width, plane.height) for plane in found] != list(sizes):
        return False
    parts = tuple(
        Image.frombytes("L", (plane.width, plane.height), bytes(memory[plane.start :]), "raw", "L", plane.stride, 1)
        for plane in found
    )
    small = scale(Planes(_WIDTH, _HEIGHT, parts, found[-1].coarse), _WIDTH // 2, _HEIGHT // 2)
    return all(
        abs(seen - value) <= _TOLERANCE
        for part, value in zip(small.parts, _PLAIN, strict=True)
        for seen in (min(part.tobytes()), max(part.tobytes()))
    )
