"""Fires the tasks of a service that come round."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from cronsim import CronSim, CronSimError

from trenza.chassis.context import Context, Principal, new_correlation_id, use_context
from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.messages.loops import Loop
from trenza.chassis.messages.statements import insert_or_ignore
from trenza.chassis.messages.tables import schedules
from trenza.chassis.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trenza.chassis.clock import Clock
    from trenza.chassis.data import Database
    from trenza.chassis.messages.definitions import Schedule
    from trenza.chassis.messages.inbox import Inbox

__all__ = ["Scheduler", "fire_times", "latest_fire_time"]

_FIRINGS = UUID("0c1a6d0f-6f4e-5c58-8a2c-3b8d1f0a7e42")
"""Namespace of the ids of scheduled tasks: all replicas derive the same one for a schedule and a fire time."""
_LONGEST_SLEEP_SECONDS = 60.0
"""The system clock may be corrected while we sleep."""
_WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=40))

logger = get_logger(__name__)


def fire_times(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """The fire times of a schedule after a moment, in UTC, without end.

    Daylight saving is treated as Debian's cron does it: a time that the clock skips fires right after the gap, a time that comes
    twice fires at the first of them; schedules with a ``*`` hour or minute follow the real clock.
    """
    for moment in CronSim(schedule.cron, after.astimezone(ZoneInfo(schedule.timezone))):
        fire_time = moment.astimezone(UTC)
        if fire_time > after:  # within a repeated hour the first of two times is already past
            yield fire_time


def latest_fire_time(schedule: Schedule, after: datetime, now: datetime) -> datetime | None:
    """The last fire time in ``(after, now]``: however many were missed, they are made up for once."""
    for start in [*(now - window for window in _WINDOWS), after]:  # a long absence must not cost a walk through all of it
        latest = None
        for fire_time in fire_times(schedule, max(start, after)):
            if fire_time > now:
                break
            latest = fire_time
        if latest is not None or start <= after:
            return latest
    return None


class Scheduler:
    """Fires one service's schedules. Every replica runs one; the database lets one of them through for each fire time."""

    def __init__(
        self,
        database: Database,
        service: str,
        entries: Sequence[Schedule],
        *,
        inbox: Inbox,
        clock: Clock,
        fired: Callable[[], None],
    ) -> None:
        names = [schedule.name for schedule in entries]
        if len(set(names)) != len(names):
            raise TypeError(f"two schedules of {service} have the same name: {names}")
        for schedule in entries:
            _check(schedule)
        self._database = database
        self._service = service
        self._schedules = tuple(entries)
        self._inbox = inbox
        self._clock = clock
        self._fired = fired
        self._loop = Loop(self._turn, name="schedules", service=service)

    async def start(self) -> None:
        """Begin to fire. A schedule that is new to the database counts from now."""
        if not self._schedules:
            return
        now = self._clock.now()
        async with self._database.work() as work:
            rows = [{"name": schedule.name, "fired_until": now} for schedule in self._schedules]
            await work.connection.execute(insert_or_ignore(work.connection, schedules), rows)
        self._loop.start()

    def wake(self) -> None:
        """Look at the clock now."""
        self._loop.ring()

    async def stop(self) -> None:
        """Stop firing. What is missed meanwhile is made up for once at the next start."""
        await self._loop.stop()

    async def _turn(self, _rung: bool) -> float:  # noqa: FBT001 - the shape of every turn, see loops.py
        await self.fire_due()
        now = self._clock.now()
        pause = min((next(fire_times(schedule, now)) - now).total_seconds() for schedule in self._schedules)
        return min(pause, _LONGEST_SLEEP_SECONDS)

    async def fire_due(self) -> None:
        """Enqueue the task of each schedule that has come round since it was fired last."""
        async with self._database.read() as connection:
            known = {name: until for name, until in await connection.execute(sa.select(schedules))}  # noqa: C416 - rows, not tuples
        now = self._clock.now()
        for schedule in self._schedules:
            latest = latest_fire_time(schedule, known[schedule.name], now)
            if latest is not None:
                await self._fire(schedule, latest)

    async def _fire(self, schedule: Schedule, fire_time: datetime) -> None:
        message_id = uuid5(_FIRINGS, f"{self._service}:{schedule.name}:{fire_time.isoformat()}")
        principal = Principal(subject=f"schedule:{self._service}.{schedule.name}", kind="service")
        advance = (
            sa.update(schedules)
            .where(schedules.c.name == schedule.name, schedules.c.fired_until < fire_time)
            .values(fired_until=fire_time)
        )
        with use_context(Context(correlation_id=new_correlation_id(), principal=principal)):
            async with self._database.work() as work:
                if (await work.execute(advance)).rowcount == 0:
                    return  # another replica was faster
                reached(Failpoint.SCHEDULE_ADVANCED)
                await self._inbox.enqueue_once(work.connection, schedule.task, message_id=message_id, priority=schedule.priority)
        reached(Failpoint.SCHEDULE_FIRED)
        logger.info("schedule fired", service=self._service, schedule=schedule.name, fire_time=fire_time.isoformat())
        self._fired()


def _check(schedule: Schedule) -> None:
    """Refuse at start what would fail at night."""
    try:
        next(fire_times(schedule, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(
            f"schedule {schedule.name}: {schedule.cron!r} is no cron expression that ever fires ({error})"
        ) from error
    except (KeyError, ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"schedule {schedule.name}: {schedule.timezone!r} is no IANA timezone") from error
