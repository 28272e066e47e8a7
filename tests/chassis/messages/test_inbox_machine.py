"""A random walk through all that can happen to an inbox, beside a model of a few lines: nothing lost, nothing done twice."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from trenza.chassis.context import Context
from trenza.chassis.contract import Event, Task
from trenza.chassis.data import Database
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.messages import claims, endings
from trenza.chassis.messages.board import Board
from trenza.chassis.messages.claims import Claimed
from trenza.chassis.messages.dead_letters import DeadLetters
from trenza.chassis.messages.definitions import Delivery, handles, reacts
from trenza.chassis.messages.endings import Reason
from trenza.chassis.messages.envelope import Envelope
from trenza.chassis.messages.handlers import Handlers
from trenza.chassis.messages.inbox import Inbox
from trenza.chassis.messages.reception import Reception
from trenza.chassis.messages.room import Room
from trenza.chassis.messages.tables import inbox
from trenza.chassis.testing.clock import ManualClock

T = TypeVar("T")
LEASE = timedelta(seconds=30)
TYPES = ("test.Fact", "test.Job")
ENDED = {"completed", "cancelled", "discarded"}
effects = sa.Table("effects", sa.MetaData(), sa.Column("message_id", sa.Uuid))


class Job(Task, type="test.Job", key="key"):
    key: str | None


class Fact(Event, type="test.Fact", key="key"):
    key: str | None


@handles(Job)
async def work(_: Any, _job: Job, _delivery: Delivery) -> None:
    raise AssertionError("the machine claims by itself")


@reacts(Fact)
async def react(_: Any, _fact: Fact, _delivery: Delivery) -> None:
    raise AssertionError("the machine claims by itself")


@dataclass
class Model:
    """What must be true of one message."""

    place: int
    consumer: str
    key: str | None
    state: str = "waiting"
    holds: bool = True
    due: datetime | None = None
    attempts: int = 0
    cancel: bool = False
    token: UUID | None = None
    until: datetime | None = None
    bodies: list[str] = field(default_factory=list)


class InboxMachine(RuleBasedStateMachine):
    """Two kinds of messages, three ordering keys, any number of workers that may stall, crash, or come too late."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="trenza-machine-"))
        self.clock = ManualClock()
        self.database = Database(f"sqlite+aiosqlite:///{self.folder / 'm.sqlite3'}", schema="test")
        self.handlers = Handlers([work, react])
        self.inbox = Inbox("test", self.handlers, self.clock)
        self.reception = Reception(self.database, "test", self.clock)
        self.board = Board(self.database, self.clock)
        self.letters = DeadLetters(self.database, self.clock)
        self.model: dict[UUID, Model] = {}
        self.done: list[UUID] = []
        self.run(upgrade(self.database, None))
        self.run(self._create())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    async def _create(self) -> None:
        async with self.database.work() as unit:
            await unit.connection.run_sync(effects.metadata.create_all)

    # ── arrivals ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(kind=st.sampled_from(["task", "task", "delayed", "event", "again"]), key=st.sampled_from([None, "a", "a", "b"]))
    def arrive(self, kind: str, key: str | None) -> None:
        if kind in ("task", "delayed"):
            self._enqueue(key, 20 if kind == "delayed" else 0)
        elif kind == "event":
            self._receive(key)
        elif bodies := [body for entry in self.model.values() for body in entry.bodies]:
            self.run(self.reception.receive([bodies[-1], bodies[0]], self.handlers.consumers_of))

    def _enqueue(self, key: str | None, delay: int) -> None:
        async def enqueue() -> UUID:
            async with self.database.work() as unit:
                return await self.inbox.enqueue(
                    unit.connection,
                    Job(key=key),
                    delay=timedelta(seconds=delay),
                    priority=0,
                    unique_key=None,
                    deliver_within=None,
                )

        message_id = self.run(enqueue())
        entry = Model(place=len(self.model), consumer="work", key=key)
        if delay:
            entry.state, entry.holds, entry.due = "delayed", False, self.clock.now() + timedelta(seconds=delay)
        self.model[message_id] = entry

    def _receive(self, key: str | None) -> None:
        message_id = uuid4()
        envelope = Envelope.wrap(
            Fact(key=key),
            message_id=message_id,
            service="test",
            time=self.clock.now(),
            deliver_by=None,
            context=Context(correlation_id="c"),
        )
        body = envelope.to_json()
        self.run(self.reception.receive([body, body], self.handlers.consumers_of))
        self.model[message_id] = Model(place=len(self.model), consumer="react", key=key, bodies=[body])

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(target=held, limit=st.integers(1, 4))
    def claim(self, limit: int) -> Any:
        return multiple(*self._claim_and_check(limit))

    def _claim_and_check(self, limit: int) -> list[Claimed]:
        self._settle()
        claimed = self.run(self._claim(limit))
        for each in claimed:
            entry = self.model[each.message_id]
            assert entry.state == "waiting", f"claimed while {entry.state}"
            self._check_order(each.message_id, {other.message_id for other in claimed})
            entry.attempts += 1
            assert each.attempt == entry.attempts
            entry.state, entry.holds, entry.token, entry.until = "running", True, each.token, self.clock.now() + LEASE
        if not claimed:
            assert not self._claimable(), "something could have been claimed"
        return claimed

    async def _claim(self, limit: int) -> list[Claimed]:
        now = self.clock.now()
        async with self.database.work() as unit:
            found, _ = await claims.claim(
                unit, room=Room(limit, {"work": 4, "react": 4}), types=TYPES, until=now + LEASE, schema="test"
            )
        return found

    def _promote(self) -> int:
        due = [
            entry
            for entry in self.model.values()
            if entry.state == "delayed" and entry.due is not None and entry.due <= self.clock.now()
        ]
        for entry in due:
            entry.state = "waiting"
        return len(due)

    def _same_key(self, entry: Model) -> list[Model]:
        return [
            other
            for other in self.model.values()
            if other is not entry and entry.key is not None and (other.consumer, other.key) == (entry.consumer, entry.key)
        ]

    def _free(self, entry: Model) -> bool:
        return not any(other.state == "running" or (other.holds and other.place < entry.place) for other in self._same_key(entry))

    def _check_order(self, message_id: UUID, batch: set[UUID]) -> None:
        entry = self.model[message_id]
        assert self._free(entry), "it overtook another one of its key, or runs beside it"
        assert not any(self.model[other] in self._same_key(entry) for other in batch - {message_id})

    def _claimable(self) -> list[Model]:
        return [entry for entry in self.model.values() if entry.state == "waiting" and self._free(entry)]

    def _owns(self, claimed: Claimed) -> bool:
        entry = self.model[claimed.message_id]
        return entry.state == "running" and entry.token == claimed.token

    def _leave(self, claimed: Claimed, state: str, *, holds: bool) -> None:
        entry = self.model[claimed.message_id]
        entry.token = entry.until = None
        entry.state, entry.holds = ("cancelled", False) if entry.cancel else (state, holds)

    @rule(claimed=held, crash=st.sampled_from([False, False, True]))
    def finish(self, claimed: Claimed, crash: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """A worker may crash at the last moment before its commit; one that comes again, or late, must be refused."""

        async def finish() -> bool:
            async with self.database.work() as unit:
                if not await endings.complete(unit, claimed, self.clock.now()):
                    return False
                await unit.execute(sa.insert(effects).values(message_id=claimed.message_id))
                if crash:
                    raise ConnectionAbortedError
                return True

        may = self._owns(claimed) and not self.model[claimed.message_id].cancel
        try:
            finished = self.run(finish())
        except ConnectionAbortedError:
            assert may
            return
        assert finished == may
        if may:
            self._leave(claimed, "completed", holds=False)
            self.done.append(claimed.message_id)

    @rule(claimed=held, how=st.sampled_from(["retry", "postpone", "release", "fail", "block"]), seconds=st.integers(0, 30))
    def give_up(self, claimed: Claimed, how: str, seconds: int) -> None:
        now = self.clock.now()
        due = now + timedelta(seconds=seconds)

        async def end() -> bool:
            async with self.database.work() as unit:
                match how:
                    case "retry":
                        return await endings.retry(unit, claimed, now, due_at=due, error="x")
                    case "postpone":
                        return await endings.postpone(unit, claimed, now, due_at=due, note="x")
                    case "release":
                        return await endings.release(unit, claimed, now)
                return await endings.fail(unit, claimed, now, reason=Reason.REJECTED, error="x", blocks_key=how == "block")

        may = self._owns(claimed)
        assert self.run(end()) == may
        if may:
            entry = self.model[claimed.message_id]
            entry.attempts -= int(how in ("postpone", "release"))
            entry.due = due
            state = {"retry": "delayed", "postpone": "delayed", "release": "waiting"}.get(how, "failed")
            self._leave(claimed, state, holds=how != "fail")

    @rule(target=held, claimed=held, how=st.sampled_from(["finish", "finish", "retry", "release", "fail"]))
    def come_too_late(self, claimed: Claimed, how: str) -> Any:
        """A worker stalls, another one takes its message over, and then the first one goes on."""
        self.time_passes(31)
        taken_over = self._claim_and_check(4)
        if how == "finish":
            self.finish(claimed, crash=False)
        else:
            self.give_up(claimed, how, 0)
        return multiple(*taken_over)

    @rule(claimed=held)
    def heartbeat(self, claimed: Claimed) -> None:
        async def beat() -> dict[tuple[int, UUID], bool]:
            async with self.database.work() as unit:
                return await claims.extend(unit, [claimed], self.clock.now() + LEASE)

        entry, found = self.model[claimed.message_id], self.run(beat())
        if self._owns(claimed):
            assert found == {(claimed.position, claimed.token): entry.cancel}
            entry.until = self.clock.now() + LEASE
            if entry.cancel:
                self._confirm(claimed)
        else:
            assert found == {}

    def _confirm(self, claimed: Claimed) -> None:
        async def confirm() -> bool:
            async with self.database.work() as unit:
                return await endings.confirm_cancelled(unit, claimed, self.clock.now())

        assert self.run(confirm())
        self._leave(claimed, "cancelled", holds=False)

    # ── time, operators, recovery ────────────────────────────────────────────────────────────────────────────────────────────

    @rule(seconds=st.sampled_from([1, 10, 31, 31]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self._settle()

    def _settle(self) -> None:
        async def settle() -> tuple[int, list[UUID]]:
            async with self.database.work() as unit:
                return await claims.settle(unit, self.clock.now(), [])

        promoted, recovered = self.run(settle())
        freed = set(recovered)
        assert promoted == self._promote()
        for message_id, entry in self.model.items():
            expired = entry.state == "running" and entry.until is not None and entry.until <= self.clock.now()
            assert (message_id in freed) == expired
            if expired:
                entry.token = entry.until = None
                entry.state, entry.holds = ("cancelled", False) if entry.cancel else ("waiting", True)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        tasks = [
            message_id
            for message_id, entry in self.model.items()
            if entry.consumer == "work" and (entry.state not in ENDED or entry.place == 0)
        ]
        if not tasks:
            return
        self._cancel(data.draw(st.sampled_from(tasks)))

    @rule(claimed=held)
    def cancel_before_the_finish(self, claimed: Claimed) -> None:
        if claimed.consumer == "work":
            self._cancel(claimed.message_id)
            self.finish(claimed, crash=False)

    def _cancel(self, message_id: UUID) -> None:
        entry = self.model[message_id]
        may = entry.state in ("waiting", "delayed", "running")
        assert self.run(self.board.cancel(message_id)) == may
        if may:
            entry.cancel = True
            if entry.state != "running":
                entry.state, entry.holds = "cancelled", False

    @rule(give_up=st.booleans())
    def operate(self, give_up: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        if give_up:
            self._discard()
        else:
            self._redrive()

    def _redrive(self) -> None:
        dead = [entry for entry in self.model.values() if entry.state == "failed"]
        assert self.run(self.letters.redrive()) == len(dead)
        for entry in dead:
            entry.state, entry.holds, entry.attempts, entry.cancel, entry.due = "waiting", True, 0, False, None

    def _discard(self) -> None:
        dead = [entry for entry in self.model.values() if entry.state == "failed"]
        assert self.run(self.letters.discard()) == len(dead)
        for entry in dead:
            entry.state, entry.holds = "discarded", False

    # ── what holds at every moment ───────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        async def rows() -> tuple[dict[UUID, Any], list[UUID]]:
            async with self.database.read() as connection:
                found = {row.message_id: row for row in await connection.execute(sa.select(inbox))}
                return found, list((await connection.execute(sa.select(effects.c.message_id))).scalars())

        found, seen = self.run(rows())
        assert found.keys() == self.model.keys(), "a message was lost, or stored twice"
        for message_id, entry in self.model.items():
            row = found[message_id]
            assert (row.state, row.holds_key, row.attempts, row.lease_token) == (
                entry.state,
                entry.holds,
                entry.attempts,
                entry.token,
            )
        assert sorted(seen) == sorted(self.done), "an effect was lost, or took place twice"

    def teardown(self) -> None:
        """However the walk ended: a worker that does its duty brings everything to an end."""
        try:
            self.clock.advance(100)
            self._settle()
            self._redrive()
            self.clock.advance(100)
            for _ in range(len(self.model) + 1):
                self._promote()
                claimed = self.run(self._claim(4))
                for each in claimed:
                    entry = self.model[each.message_id]
                    entry.state, entry.holds, entry.token, entry.attempts = "running", True, each.token, each.attempt
                    self.finish(each, crash=False)
            assert all(entry.state in ENDED for entry in self.model.values()), "a message is stuck"
            self.the_database_says_what_the_model_says()
        finally:
            self.run(self.database.close())
            self.runner.close()
            shutil.rmtree(self.folder)


InboxMachine.TestCase.settings = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # no shrinking: it would take longer than a test may
    max_examples=40,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestInbox = InboxMachine.TestCase
