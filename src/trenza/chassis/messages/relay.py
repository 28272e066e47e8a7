"""Hands the outbox over to the transport, oldest first, and marks what the transport has confirmed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.messages.loops import FALLBACK_SECONDS, Loop
from trenza.chassis.messages.metrics import RELAYED
from trenza.chassis.messages.outbox import Batch
from trenza.chassis.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from trenza.chassis.messages.outbox import Outbox
    from trenza.chassis.messages.transports.base import Transport

__all__ = ["Relay"]

_BATCH = 200
"""Messages per publication: a burst takes few transactions, and a failed publication repeats little."""
_LEASE_SECONDS = 15.0
"""How long a publication may take, and how long the events of a relay that was killed wait for the next one."""
_LINGER_SECONDS = 0.02
"""How long to wait for more before what was published is recorded. A crash meanwhile repeats the batch."""
_BUSY_SECONDS = 0.25
"""How soon to try again while another process's relay is at work."""
_LAST_SECONDS = 2.0
"""How long a publication under way may take when the process stops, and each of those that follow."""
_LAST_CHANCE_SECONDS = 0.5
"""The same where the last publication has failed: what waits leaves with the next start."""

logger = get_logger(__name__)


class Relay:
    """Publishes one service's outbox in one process: at once after a commit with something new.

    A transport that fails is tried again, less and less often but at least every five seconds, whatever is committed meanwhile.
    """

    def __init__(self, outbox: Outbox, service: str, *, longest_pause: Callable[[], float] = lambda: FALLBACK_SECONDS) -> None:
        self._outbox = outbox
        self._service = service
        self._longest_pause = longest_pause
        self._loop = Loop(self._turn, name="relay", service=service)
        self._turns = asyncio.Lock()
        self._transport: Transport | None = None
        self._failing = False
        """Whether the last publication has failed."""
        self._patience = _LEASE_SECONDS
        """How many seconds one publication may take."""

    def start(self, transport: Transport) -> None:
        """Begin to publish through this transport."""
        self._transport = transport
        self._patience = _LEASE_SECONDS
        self._loop.start()

    def wake(self) -> None:
        """Publish now: there is something."""
        self._loop.ring()

    def look(self) -> None:
        """Look whether there is something."""
        self._loop.look()

    async def flush(self, transport: Transport, timeout: float) -> bool:
        """Publish until nothing waits; False when ``timeout`` seconds were not enough or the transport fails."""
        try:
            async with asyncio.timeout(timeout):
                while await self._outbox.has_waiting():
                    if not await self._publish_waiting(transport):
                        await asyncio.sleep(_BUSY_SECONDS)
        except Exception as error:  # noqa: BLE001 - what remains in the outbox leaves with the next start
            logger.warning("outbox not flushed", service=self._service, error=f"{type(error).__name__}: {error}")
            return False
        return True

    async def stop(self, transport: Transport, timeout: float) -> None:
        """Stop, and hand over what waits within ``timeout`` seconds; what remains leaves with the next start.

        A transport that does not answer holds nobody up for more than two seconds or three.
        """
        await self._loop.stop(0.0 if self._failing else _LAST_SECONDS)
        self._patience = _LAST_CHANCE_SECONDS if self._failing else _LAST_SECONDS
        await self.flush(transport, timeout)

    async def _turn(self, rung: bool) -> float:  # noqa: FBT001 - the shape of every turn, see loops.py
        if self._transport is None or not (rung or await self._outbox.has_waiting()):
            return self._longest_pause()
        return self._longest_pause() if await self._publish_waiting(self._transport) else _BUSY_SECONDS

    async def _publish_waiting(self, transport: Transport) -> bool:
        """Publish all that waits; False while another process's relay is at work.

        What was published is recorded with the next claim. That waits for a moment, unless more comes: a steady flow costs one
        transaction a batch, and whoever handles the messages need not compete with the record.
        """
        async with self._turns:
            sent: Batch | None = None
            while True:
                batch = await self._outbox.claim(_BATCH, timedelta(seconds=_LEASE_SECONDS), sent=sent)
                if sent is not None:
                    reached(Failpoint.RELAY_MARKED)
                    RELAYED.labels(self._service).inc(len(sent.messages))
                if batch is None:
                    return False
                if not batch.messages:
                    return True
                reached(Failpoint.RELAY_CLAIMED)
                try:
                    async with asyncio.timeout(self._patience):
                        await transport.publish(batch.messages)
                    reached(Failpoint.RELAY_PUBLISHED)
                except BaseException:
                    self._failing = True
                    await self._outbox.release()
                    raise
                self._failing = False
                sent = batch
                if len(batch.messages) < _BATCH:
                    await self._loop.linger(_LINGER_SECONDS)
