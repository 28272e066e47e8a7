"""Commands as somebody at a terminal of so many columns sees them."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path


def at_a_terminal(columns: int, *arguments: str | Path) -> str:
    """What a command writes to a terminal, with its escape codes."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    settings = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-m", "trenza", *map(str, arguments)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=settings | {"TERM": "xterm"})  # noqa: S603 - our own program
    os.close(theirs)
    written = b""
    try:
        while read := os.read(ours, 65536):
            written += read
    except OSError:  # Linux says so that the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait(30) == 0, written.decode()
    return written.decode().replace("\r\n", "\n")
