"""Health: checks side by side, slow ones, raising ones, and ones that refuse to end."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from trenza.chassis.telemetry.health import FRESH_SECONDS, Health


async def passes() -> None:
    """A check that is fine."""


async def hangs() -> None:
    """A check that never answers."""
    await asyncio.Event().wait()


async def raises() -> None:
    """A check that is not fine."""
    raise ConnectionError("host db-1.internal refused")


def by_name(report: object) -> dict[str, bool]:
    return {check.name: check.healthy for check in getattr(report, "checks")}  # noqa: B009 - a report


async def test_no_checks_is_healthy() -> None:
    report = await Health().report()
    assert (report.status, report.ready, report.checks) == ("healthy", True, ())


async def test_a_check_that_raises_is_unhealthy_and_says_why_to_operators() -> None:
    health = Health()
    health.add("database", raises)
    health.add("objects", passes)
    report = await health.report()
    assert (report.status, report.ready) == ("unhealthy", False)
    database, objects = report.checks
    assert (database.name, database.healthy, database.required) == ("database", False, True)
    assert database.reason == "ConnectionError: host db-1.internal refused"
    assert (objects.healthy, objects.reason) == (True, None)


async def test_what_is_not_required_only_degrades() -> None:
    health = Health()
    health.add("database", passes)
    health.add("mail", raises, required=False)
    report = await health.report()
    assert (report.status, report.ready) == ("degraded", True)


async def test_slow_checks_run_side_by_side_and_end_at_their_time_out() -> None:
    health = Health()
    for number in range(10):
        health.add(f"slow-{number}", hangs, timeout=0.1)
    health.add("fast", passes)
    began = time.monotonic()
    report = await health.report()
    assert time.monotonic() - began < 0.8
    assert sum(check.healthy for check in report.checks) == 1
    slow = report.checks[0]
    assert slow.reason == "no answer within 0.1 s"
    assert 90 <= slow.duration_ms < 800


async def test_a_check_that_refuses_to_be_cancelled_neither_holds_the_report_nor_piles_up() -> None:
    started: list[int] = []
    release = asyncio.Event()

    async def stubborn() -> None:
        started.append(1)
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    health = Health()
    health.add("stubborn", stubborn, timeout=0.05)
    try:
        for name in ("a", "b", "c"):
            health.add(name, passes)  # a new check makes the next report fresh
            assert not (await health.report()).ready
        assert len(started) == 1
    finally:
        release.set()


async def test_a_check_that_ends_by_cancelling_itself_is_unhealthy() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    health = Health()
    health.add("odd", cancelled)
    report = await health.report()
    assert report.checks[0].reason == "cancelled"


async def test_many_who_ask_at_once_cost_one_round() -> None:
    rounds: list[int] = []

    async def counted() -> None:
        rounds.append(1)
        await asyncio.sleep(0)

    health = Health()
    health.add("counted", counted)
    reports = await asyncio.gather(*(health.report() for _ in range(50)))
    assert all(report.ready for report in reports)
    await health.report()
    assert len(rounds) == 1


async def test_one_who_goes_away_does_not_take_the_answer_from_others() -> None:
    release = asyncio.Event()

    async def waits() -> None:
        await release.wait()

    health = Health()
    health.add("waits", waits)
    first, second = asyncio.create_task(health.report()), asyncio.create_task(health.report())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    release.set()
    assert (await second).ready


async def test_a_report_is_given_again_for_a_second_only() -> None:
    healthy = True

    async def changes() -> None:
        if not healthy:
            raise RuntimeError("now broken")

    health = Health()
    health.add("changes", changes)
    assert (await health.report()).ready
    healthy = False
    deadline = time.monotonic() + FRESH_SECONDS + 5
    began = time.monotonic()
    while (await health.report()).ready:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)  # the time itself is what is awaited
    assert time.monotonic() - began >= FRESH_SECONDS / 2


async def test_not_accepting_is_not_ready_and_known_at_once() -> None:
    accepting = True
    health = Health(accepting=lambda: accepting)
    health.add("database", passes)
    assert (await health.report()).ready
    accepting = False
    report = await health.report()
    assert (report.status, report.accepting, report.ready) == ("healthy", False, False)


async def test_changes_are_logged_once_with_their_reason() -> None:
    broken = True

    async def flaps() -> None:
        if broken:
            raise RuntimeError("the reason")

    health = Health()
    health.add("flaps", flaps, required=False)
    with capture_logs() as logged:
        await health.report()
        health.add("a", passes)
        await health.report()
        broken = False
        health.add("b", passes)
        await health.report()
    assert [(line["event"], line.get("reason")) for line in logged] == [
        ("health check fails", "RuntimeError: the reason"),
        ("health check passes again", None),
    ]


def test_names_are_unique() -> None:
    health = Health()
    health.add("database", passes)
    with pytest.raises(ValueError, match="two health checks"):
        health.add("database", passes)
