"""The frames that travel between the service and a worker: a length of four bytes, then JSON.

JSON, not pickle: a decoder that was taken over by a hostile file must not be able to run code in the service.
"""

from __future__ import annotations

from typing import BinaryIO

__all__ = ["HEAD_BYTES", "MAX_FRAME_BYTES", "frame_length", "read_frame", "to_frame"]

HEAD_BYTES = 4
MAX_FRAME_BYTES = 1024 * 1024
"""Jobs and answers are a few kilobytes; whoever announces more is broken or hostile."""


def to_frame(payload: bytes) -> bytes:
    """A payload with its length before it."""
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(payload)} bytes; {MAX_FRAME_BYTES} are allowed")
    return len(payload).to_bytes(HEAD_BYTES, "big") + payload


def frame_length(head: bytes) -> int:
    """The length that a frame's head announces; raises ValueError when it is not allowed."""
    length = int.from_bytes(head, "big")
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes was announced; {MAX_FRAME_BYTES} are allowed")
    return length


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next payload of a blocking stream, or None at its end."""
    head = stream.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return None
    payload = stream.read(length := frame_length(head))
    return payload if len(payload) == length else None
