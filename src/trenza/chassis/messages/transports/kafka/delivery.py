"""A call of a receiver in its event loop, made and followed by a thread."""

from __future__ import annotations

import asyncio
from threading import Event

from trenza.chassis.messages.transports.base import Receiver

__all__ = ["Delivery"]

_TURN_SECONDS = 0.2
"""How soon it shows that the loop has been closed."""


class Delivery:
    """A call of the receiver in its loop, seen from the thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receiver: Receiver, bodies: list[bytes]) -> None:
        self._loop = loop
        self._receiver = receiver
        self._bodies = bodies
        self._task: asyncio.Task[None] | None = None
        self._ended = Event()
        self.error: str | None = None
        """Why it was not stored."""
        loop.call_soon_threadsafe(self._begin)

    @property
    def stored(self) -> bool:
        """Whether the receiver has returned."""
        return self._ended.is_set() and self.error is None

    def wait(self, seconds: float) -> bool:
        """Whether it has ended."""
        return self._ended.wait(seconds)

    def cancel(self) -> None:
        """Have it end soon."""
        self._loop.call_soon_threadsafe(self._cancel)

    def end(self) -> None:
        """Cancel it, and wait until it has ended: two members never store messages of one key at a time."""
        while not self._ended.is_set() and not self._loop.is_closed():
            self.cancel()
            self._ended.wait(_TURN_SECONDS)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._receive())

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _receive(self) -> None:
        try:
            if self._bodies:
                await self._receiver(self._bodies)
        except asyncio.CancelledError:
            self.error = "cancelled"
        except Exception as error:  # noqa: BLE001 - whatever it was, the batch comes again
            self.error = f"{type(error).__name__}: {error}"
        self._ended.set()
