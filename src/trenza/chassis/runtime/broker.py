"""Whether the broker answers, known without waiting for one that does not."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from trenza.chassis.messages.transports.base import Transport, TransportUnavailable

__all__ = ["BrokerWatch"]

_START_SECONDS = 2.0
"""How long a start waits for the first answer."""
_FIRST_SECONDS = 1.0
"""How long to wait for an answer of a broker of which nothing bad is known."""
_AGAIN_SECONDS = 0.2
"""The same when it gave none the last time."""


class BrokerWatch:
    """Asks a transport, one question at a time. A question outlives who asked it: its answer serves whoever asks next."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._asking: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        """What the last question ended with; None when it was answered, or none has been asked."""

    async def look(self) -> None:
        """Ask for the first time, for `trouble`. Takes two seconds at most."""
        with suppress(TransportUnavailable):
            await self._answer(_START_SECONDS)

    async def check(self) -> None:
        """Raise `TransportUnavailable`, which says where the broker should be, unless it answers. Takes a second at most."""
        await self._answer(_FIRST_SECONDS if self.trouble is None else _AGAIN_SECONDS)

    async def _answer(self, seconds: float) -> None:
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="question to the broker")
        done, _ = await asyncio.wait({self._asking}, timeout=seconds)
        if not done and self.trouble is None:
            self.trouble = (
                f"{self._transport.place} does not answer within {seconds:g} s; start it, or correct TRENZA_TRANSPORT_URL"
            )
        if self.trouble is not None:
            raise TransportUnavailable(self.trouble)

    async def close(self) -> None:
        """Drop the question under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _ask(self) -> None:
        try:
            await self._transport.ping()
        except Exception as error:  # noqa: BLE001 - whatever it is, the broker does not answer
            self.trouble = str(error) if isinstance(error, TransportUnavailable) else f"{self._transport.place} fails: {error!r}"
        else:
            self.trouble = None
        finally:
            self._asking = None
