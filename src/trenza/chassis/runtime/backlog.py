"""Closing a listener without cutting connections that the kernel has accepted and nobody has read yet."""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
import sys

__all__ = ["queued_connections", "refuse_new_connections"]

_SO_ATTACH_FILTER = 26
"""asm-generic/socket.h; Python's socket module does not name it."""
_SYN_IS_DROPPED = (
    (0x30, 0, 0, 13),  # load the byte of flags of the TCP header
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # yes: drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # no: it belongs to a connection that is being made
)
"""A program for the kernel's packet filter (linux/filter.h): operation, jump if true, jump if false, operand."""
_UNACKED = struct.Struct("8x 4I I")
"""``tcpi_unacked`` of struct tcp_info (linux/tcp.h): of a listener, how many connections wait to be accepted."""

log = logging.getLogger(__name__)


def refuse_new_connections(listener: socket.socket) -> bool:
    """Let no further connection begin, while those in the kernel's queue can still be accepted. Returns whether it could be done.

    Closing a listener resets what waits in its queue, though those clients were told that they are connected, and may have sent
    their request. From here on the queue only gets shorter. A client that comes now repeats its first packet a second later, and
    is refused once the listener is closed. Linux only; elsewhere, and where the filter is not allowed, nothing changes.
    """
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _SYN_IS_DROPPED))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(_SYN_IS_DROPPED), ctypes.addressof(program))
        )
    except OSError as error:
        log.info("the listener is closed with what waits in its queue: %s", error.strerror)
        return False
    return True


def queued_connections(listener: socket.socket) -> int:
    """How many connections the kernel has accepted for a listener that has not taken them yet. Linux only."""
    waiting: int = _UNACKED.unpack(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED.size))[-1]
    return waiting
