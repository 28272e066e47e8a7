"""What a test wants of a broker: a real server on loopback, which can be stopped and started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol


class NotInstalled(Exception):
    """The server is not on this machine; the message says how it is installed."""


class Broker(Protocol):
    """A broker for the tests of one process."""

    name: str
    """What people call it."""
    lasting: bool
    """Whether it keeps its messages over `stop` and `start`."""
    keeps_the_dead: bool = False
    """A fault of its own: what a killed process was handed stays with it until the broker is started again."""
    faults: Mapping[str, str] = MappingProxyType({})
    """Tests that its own faults make fail, whatever a transport does, and why: these are skipped over it."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds its data; nothing is started yet."""
        ...

    def url(self, prefix: str) -> str:
        """What an operator would set as ``TRENZA_TRANSPORT_URL``; names that begin with ``prefix`` are this test's alone."""
        ...

    def environment(self) -> dict[str, str]:
        """What the operator would set beside it."""
        ...

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, for a proxy before it."""
        ...

    def stop(self) -> None:
        """End it as abruptly as it can be without losing what its real counterpart would have kept."""
        ...

    def start(self) -> None:
        """Start it (again), on the same port and data; returns when it answers."""
        ...

    def close(self) -> None:
        """End it and what it started, by id."""
        ...
