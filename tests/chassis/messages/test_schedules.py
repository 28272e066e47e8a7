"""Schedules: fire times across daylight saving, one firing among replicas, one for all that was missed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest
import sqlalchemy as sa

from trenza.chassis.context import current_context
from trenza.chassis.contract import Task
from trenza.chassis.messages.definitions import Delivery, Schedule, handles
from trenza.chassis.messages.schedules import fire_times, latest_fire_time
from trenza.chassis.messages.tables import inbox


class Water(Task, type="test.Water"):
    pass


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def nightly(cron: str = "30 2 * * *", timezone: str = "Europe/Madrid") -> Schedule:
    return Schedule("water", cron=cron, task=Water(), timezone=timezone)


def test_fire_times_follow_the_wall_clock_of_their_zone() -> None:
    winter_and_summer = list(islice(fire_times(nightly("0 8 * * *"), at("2026-03-28T00:00Z")), 3))
    assert winter_and_summer == [at("2026-03-28T07:00Z"), at("2026-03-29T06:00Z"), at("2026-03-30T06:00Z")]


def test_a_time_that_the_clock_skips_fires_after_the_gap() -> None:
    times = list(islice(fire_times(nightly(), at("2026-03-28T12:00Z")), 2))  # on the 29th 02:00 becomes 03:00
    assert times == [at("2026-03-29T01:00Z"), at("2026-03-30T00:30Z")]


def test_a_time_that_comes_twice_fires_once() -> None:
    times = list(islice(fire_times(nightly(), at("2026-10-24T12:00Z")), 2))  # on the 25th 03:00 becomes 02:00
    assert times == [at("2026-10-25T00:30Z"), at("2026-10-26T01:30Z")]
    between_the_two = at("2026-10-25T01:10Z")
    assert next(fire_times(nightly(), between_the_two)) == at("2026-10-26T01:30Z")
    assert latest_fire_time(nightly(), at("2026-10-24T12:00Z"), between_the_two) == at("2026-10-25T00:30Z")


def test_the_latest_of_many_missed_is_found_without_walking_through_them() -> None:
    every_minute, now = nightly("* * * * *", "UTC"), at("2026-07-01T10:20:30Z")
    assert latest_fire_time(every_minute, at("2016-01-01T00:00Z"), now) == at("2026-07-01T10:20Z")
    yearly = nightly("0 0 1 1 *", "UTC")
    assert latest_fire_time(yearly, at("2016-01-01T12:00Z"), now) == at("2026-01-01T00:00Z")
    assert latest_fire_time(yearly, at("2026-01-01T00:00Z"), now) is None
    assert latest_fire_time(every_minute, at("2026-07-01T10:20Z"), now) is None


@pytest.mark.parametrize(
    ("cron", "timezone", "complaint"),
    [
        ("61 * * * *", "UTC", "no cron expression"),
        ("0 0 30 2 *", "UTC", "no cron"),
        ("0 0 * * *", "Europe/Macondo", "no IANA timezone"),
    ],
)
async def test_a_schedule_that_cannot_fire_is_refused_at_once(service_of: Any, cron: str, timezone: str, complaint: str) -> None:
    @handles(Water)
    async def water(_: Any, _order: Water, _delivery: Delivery) -> None:
        pass

    with pytest.raises(ValueError, match=complaint):
        service_of(water, schedules=[nightly(cron, timezone)])
    with pytest.raises(LookupError, match=r"no handler of test\.Water"):
        service_of(schedules=[nightly()])
    with pytest.raises(TypeError, match="the same name"):
        service_of(water, schedules=[nightly(), nightly()])


async def count(database: Any) -> int:
    async with database.read() as connection:
        return int(await connection.scalar(sa.select(sa.func.count()).select_from(inbox)) or 0)


async def test_replicas_fire_once_and_missed_times_are_made_up_for_once(service_of: Any, database: Any, clock: Any) -> None:
    fired = asyncio.Semaphore(0)
    subjects = []

    @handles(Water)
    async def water(_: Any, _order: Water, _delivery: Delivery) -> None:
        subjects.append(current_context().principal.subject)
        fired.release()

    hourly = nightly("0 * * * *", "UTC")
    clock.set(at("2026-05-05T10:30Z"))
    replicas = [service_of(water, schedules=[hourly], clock=clock) for _ in range(3)]
    for replica in replicas:
        await replica.start()
    assert await count(database) == 0, "a new schedule does not fire for the time before it was known"
    for hours in (1, 5):  # one fire time; then five at once
        clock.advance(hours * 3600)
        for replica in replicas:
            replica.clock_moved()
        await asyncio.wait_for(fired.acquire(), 20)
        for replica in replicas:
            await replica.drain(5)
            await replica.start()
    assert fired.locked()
    assert await count(database) == 2
    assert subjects == ["schedule:test.water"] * 2


async def test_a_schedule_fires_by_itself_when_its_time_comes(service_of: Any) -> None:
    fired = asyncio.Event()

    @handles(Water)
    async def water(_: Any, _order: Water, _delivery: Delivery) -> None:
        fired.set()

    messages = service_of(water, schedules=[Schedule("often", cron="* * * * * *", task=Water())])
    await messages.start()
    await asyncio.wait_for(fired.wait(), 5)
