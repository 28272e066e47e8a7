"""What the processes of one service tell one another about its messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.data.notices import tell
from trenza.chassis.messages.loops import FALLBACK_SECONDS, UNHEARD_SECONDS
from trenza.chassis.telemetry.logs import get_logger

if TYPE_CHECKING:
    from trenza.chassis.data import Database
    from trenza.chassis.messages.relay import Relay
    from trenza.chassis.messages.worker import Worker

__all__ = ["CANCELLED_NOTICE", "EVENTS_NOTICE", "WORK_NOTICE", "News"]

WORK_NOTICE = "work"
"""There are messages in the inbox that whoever tells it cannot begin."""
EVENTS_NOTICE = "events"
"""There are events in the outbox of a process that has no relay."""
CANCELLED_NOTICE = "cancelled"
"""With the id of a task: it shall stop."""

_INTERVAL_SECONDS = 0.25
"""The shortest time between two tellings: who was told keeps claiming as long as something waits."""
_SOON_SECONDS = 0.01
"""The same for a process that can begin nothing itself."""

logger = get_logger(__name__)


class News:
    """Wakes the loops of one service for what other processes tell, and tells them what this one leaves to them.

    A process that can begin its work itself tells nobody, so that one process alone costs no notices. Were it to die between a
    commit and the claim, another one would see the message when its longest pause is over.
    """

    def __init__(self, database: Database, service: str) -> None:
        self._database = database
        self._service = service
        self._notices = database.notices()
        self._relay: Relay | None = None
        self._worker: Worker | None = None
        self._untold: set[str] = set()
        self._telling = False
        self._told = float("-inf")

    @property
    def longest_pause(self) -> float:
        """For how many seconds a loop may sleep without looking for itself."""
        return FALLBACK_SECONDS if self._notices.heard else UNHEARD_SECONDS

    def start(self, relay: Relay, worker: Worker) -> None:
        """Begin to wake these."""
        self._relay, self._worker = relay, worker
        self._notices.start(self._hear)

    async def stop(self) -> None:
        """Wake nobody any more."""
        await self._notices.stop()

    def announce(self, text: str, *, soon: bool = False) -> None:
        """Tell other processes, in a transaction of its own: within a quarter of a second, or ``soon``.

        On SQLite they have seen the commit.
        """
        if self._database.is_sqlite:
            return
        self._untold.add(text)
        if not self._telling:
            self._telling = True
            self._database.in_background(self._tell(_SOON_SECONDS if soon else _INTERVAL_SECONDS))

    async def _tell(self, interval: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            await asyncio.sleep(self._told + interval - loop.time())
        finally:
            self._telling = False
        self._told = loop.time()
        texts, self._untold = self._untold, set()
        try:
            async with self._database.work(durable=False) as work:
                for text in sorted(texts):
                    await tell(work, self._database.schema, text)
        except DatabaseUnavailable as error:
            logger.warning("other processes not told", service=self._service, reason=str(error))

    def _hear(self, text: str | None) -> None:
        if self._relay is None or self._worker is None:
            return
        match (text or "").split():
            case ["work"]:
                self._worker.wake()
            case ["events"]:
                self._relay.wake()
            case ["cancelled", task_id]:
                self._worker.cancel(UUID(task_id))
                self._worker.wake()  # the next one of its key need not wait any longer
            case _:
                self._relay.look()
                self._worker.look()
