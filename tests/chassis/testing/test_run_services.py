"""Services running in a test."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from trenza import (
    Backoff,
    Contract,
    Delivery,
    Event,
    Reject,
    Resources,
    Schedule,
    Service,
    Task,
    current_context,
    handles,
    operation,
    reacts,
)
from trenza.chassis.testing import ManualClock, MessagesFailed, differences_of_tables, run_services, stand_in


class Rang(Event, type="bell.Rang", key="tower"):
    tower: str


class Ring(Task, type="bell.Ring"):
    tower: str


class Bell(Contract, service="bell", events=(Rang,)):
    @operation(idempotent=True)
    @abstractmethod
    async def towers(self) -> tuple[str, ...]: ...


class Ringer(Bell):
    def __init__(self, resources: Resources[Any]) -> None:
        self.resources = resources
        self.tries = 0

    async def towers(self) -> tuple[str, ...]:
        return (current_context().principal.subject,)


@handles(Ring, attempts=3, backoff=Backoff(base=10, factor=1))
async def ring(ringer: Ringer, task: Ring, delivery: Delivery) -> None:
    ringer.tries += 1
    if task.tower == "ruin":
        raise Reject("it has no bell")
    if task.tower == "rusty" and ringer.tries < 3:
        raise RuntimeError("stuck")
    async with delivery.finish() as work:
        await work.publish(Rang(tower=task.tower))


class Street(Contract, service="street"): ...


class Listeners(Street):
    def __init__(self, resources: Resources[Any]) -> None:
        self.resources = resources
        self.heard: list[str] = []


@reacts(Rang)
async def hear(street: Listeners, event: Rang, _delivery: Delivery) -> None:
    street.heard.append(event.tower)


BELL = Service(
    contract=Bell,
    implementation=Ringer,
    handlers=(ring,),
    schedules=(Schedule("noon", cron="0 12 * * *", task=Ring(tower="noon")),),
)
STREET = Service(contract=Street, implementation=Listeners, handlers=(hear,), uses=(Bell,))


async def test_settled_waits_for_all_that_follows(tmp_path: Path) -> None:
    async with run_services(BELL, STREET, data_dir=tmp_path) as running:
        for tower in ("east", "west"):
            assert (await running.run(Ring(tower=tower))).state == "completed"
        await running.publish(Rang(tower="elsewhere"))
        await running.settled()
        assert sorted(running.implementation(Listeners).heard) == ["east", "elsewhere", "west"]


async def test_time_moves_when_the_test_moves_it(tmp_path: Path) -> None:
    async with run_services(BELL, STREET, data_dir=tmp_path, clock=ManualClock()) as running:
        async with running.implementation(Ringer).resources.database.work() as work:
            await work.enqueue(Ring(tower="rusty"))
        await running.settled()
        assert running.implementation(Ringer).tries == 1
        for tries in (2, 3):
            await running.advance(10)
            await running.settled()
            assert running.implementation(Ringer).tries == tries
        assert running.implementation(Listeners).heard == ["rusty"]


async def test_what_failed_is_shown(tmp_path: Path) -> None:
    async with run_services(BELL, data_dir=tmp_path) as running:
        assert (await running.run(Ring(tower="ruin"))).state == "failed"
        with pytest.raises(MessagesFailed, match=r"bell.Ring at ring: .*it has no bell"):
            await running.settled()
        [letter] = await running.settled(failures_expected=True)
        assert letter.attempts == 1
        with pytest.raises(TypeError, match=r"start with run_services\(…, clock=ManualClock\(\)\)"):
            await running.advance(1)


class Silence(Bell):
    async def towers(self) -> tuple[str, ...]:
        return ("none",)


async def test_a_double_stands_in_for_another_service(tmp_path: Path) -> None:
    async with run_services(STREET, stand_in(Silence()), data_dir=tmp_path) as running:
        assert await running.call(Bell).towers() == ("none",)
        assert await running.implementation(Listeners).resources.call(Bell).towers() == ("none",)
        assert (await running.ask("GET", "/health/status", "platform:viewer")).status_code == 200
        assert (await running.ask("GET", "/health/status")).status_code == 401


async def test_a_second_start_goes_on(tmp_path: Path) -> None:
    clock = ManualClock()
    async with run_services(BELL, data_dir=tmp_path, clock=clock) as running:
        async with running.implementation(Ringer).resources.database.work() as work:
            await work.enqueue(Ring(tower="rusty"))
        await running.settled()
    clock.advance(10)
    async with run_services(BELL, data_dir=tmp_path, clock=clock) as running:
        await running.settled()
        assert running.implementation(Ringer).tries == 1  # the second attempt, of a new ringer


async def test_tables_that_differ_from_the_migrations_are_told(tmp_path: Path) -> None:
    metadata = sa.MetaData()
    service = Service(contract=Bell, implementation=Ringer, tables=metadata, migrations="trenza.services.photos.migrations")
    assert await differences_of_tables(service, f"sqlite+aiosqlite:///{tmp_path / 'a.sqlite3'}") == []
    sa.Table("maintenance", metadata, sa.Column("id", sa.Integer, primary_key=True))
    differences = await differences_of_tables(service, f"sqlite+aiosqlite:///{tmp_path / 'b.sqlite3'}")
    assert "retry_after_seconds" in str(differences)
    with pytest.raises(ValueError, match="bell lists no tables in its wiring"):
        await differences_of_tables(BELL, "sqlite+aiosqlite://")
