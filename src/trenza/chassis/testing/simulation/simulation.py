"""Runs the simulation of one seed after another on the same files, and says of each what it found."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from trenza.chassis.failpoints import watching
from trenza.chassis.messages import Messages
from trenza.chassis.testing.simulation.databases import Disk, SimulatedDatabase, use_disk
from trenza.chassis.testing.simulation.loop import VirtualTimeLoop
from trenza.chassis.testing.simulation.plan import FAULT_SECONDS, draw_plan
from trenza.chassis.testing.simulation.process import START, DriftingClock, SimulatedProcess, Stopped, task_factory
from trenza.chassis.testing.simulation.verdict import problems_of, unsettled
from trenza.chassis.testing.simulation.witness import Witness, make_template
from trenza.chassis.testing.simulation.workload import HANDLERS
from trenza.chassis.testing.simulation.world import World

if TYPE_CHECKING:
    from trenza.chassis.failpoints import Failpoint

__all__ = ["Finding", "Rules", "Simulation", "folder_in_memory"]

_MACHINES = 3
_SETTLE_SECONDS = 400.0
_LOOK_SECONDS = 0.5
_UNBLOCK_SECONDS = 10.0


_MEMORY = Path("/dev/shm")  # noqa: S108 - a fresh folder in it, of our own


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder for the block whose files never wait for a disk, where the system has such a place."""
    with TemporaryDirectory(prefix="trenza-simulation-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def _unchanged(statement: str) -> str:
    return statement


def _keep(_connection: sqlite3.Connection) -> None:
    pass


@dataclass(frozen=True)
class Rules:
    """What is simulated: the real thing, unless a part is replaced by one that breaks a rule on purpose."""

    messages: type[Messages] = Messages
    statement: Callable[[str], str] = _unchanged
    """Changes SQL on its way to the database."""
    schema: Callable[[sqlite3.Connection], None] = _keep
    """Changes the tables of each database before anything is in them."""


@dataclass(frozen=True)
class Finding:
    """What a seed came to. ``problems`` is empty when every rule held."""

    seed: int
    problems: tuple[str, ...]
    history: tuple[str, ...] = field(repr=False)
    reached: frozenset[Failpoint] = field(repr=False)
    virtual_seconds: float = 0.0

    def brief(self) -> Finding:
        """Without the history."""
        return replace(self, history=())

    @property
    def fingerprint(self) -> str:
        """The same for the same history."""
        return hashlib.sha256("\n".join(self.history).encode()).hexdigest()

    def __str__(self) -> str:
        return "\n".join(f"seed {self.seed}: {problem}; replay it: make simulate SEED={self.seed}" for problem in self.problems)


class Simulation:
    """Simulates seeds with databases in ``folder``, best one in memory. Use it as a context; one at a time in a process.

    Each seed begins with empty databases, but connections stay open and statements compiled.
    """

    def __init__(self, folder: Path, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._witness = Witness()
        self._disk = Disk(self._witness.prepare)
        self._template = make_template(folder / "template.sqlite3")
        self._rules.schema(self._template)
        self._witness.prepare(self._template)
        paths = {name: folder / f"{name}.sqlite3" for name in HANDLERS}
        self._databases = [{name: SimulatedDatabase(path, schema=name) for name, path in paths.items()} for _ in range(_MACHINES)]
        self._ledgers = {name: sqlite3.connect(path, isolation_level=None) for name, path in paths.items()}

        self._open_once()

    def _open_once(self) -> None:
        """Let each engine ask its database what SQLAlchemy wants to know at first: the seed that came first would be another."""
        for ledger in self._ledgers.values():
            self._template.backup(ledger)
        use_disk(self._disk)
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(self._greet())
        use_disk(None)

    async def _greet(self) -> None:
        process = SimulatedProcess("0", DriftingClock())
        for databases in self._databases:
            for database in databases.values():
                database.renew()
                await process.spawn(_greet(database))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for connection in (self._template, *self._ledgers.values()):
            connection.close()
        self._disk.close()

    def run(self, seed: int) -> Finding:
        """Simulate one seed."""
        for ledger in self._ledgers.values():
            self._template.backup(ledger)
        self._witness.forget()
        chance = random.Random(seed)  # noqa: S311 - it has to repeat itself
        plan = draw_plan(chance)
        self._disk.chance, self._disk.slow, self._disk.rewritten = chance, plan.slow, self._rules.statement
        world = World(plan, chance, self._databases, self._rules.messages)
        use_disk(self._disk)
        gc.disable()  # what it ends, it would end at a moment that no seed decides
        try:
            with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, watching(world.reach):
                seconds = runner.run(self._play(world))
        finally:
            gc.enable()
            use_disk(None)
        problems = dict.fromkeys(
            [*world.problems, *problems_of(self._ledgers, cancelled=world.cancelled, rollout=plan.older is not None)]
        )
        return Finding(
            seed=seed,
            problems=tuple(problems),
            history=(*map(str, plan.steps), *(f"{time:9.4f} {who:10} {what}" for time, who, what in world.history)),
            reached=frozenset(world.reached),
            virtual_seconds=seconds,
        )

    async def _play(self, world: World) -> float:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(task_factory)
        loop.set_exception_handler(lambda _loop, context: _unexpected(world, context))
        await world.begin()
        await world.carry_out()
        await asyncio.sleep(max(FAULT_SECONDS - loop.time(), 0.0))
        world.repair()
        await self._settle(world)
        settled = loop.time()
        await world.end()
        return settled

    async def _settle(self, world: World) -> None:
        """Wait until nothing is left to be done."""
        loop = asyncio.get_running_loop()
        began = unblocked = loop.time()
        while (left := unsettled(self._ledgers, START + timedelta(seconds=loop.time()))) or not world.quiet:
            if loop.time() - began > _SETTLE_SECONDS:
                world.problems.append(f"everything settles within {_SETTLE_SECONDS:g} s: {left or 'somebody is down'}")
                return
            await asyncio.sleep(_LOOK_SECONDS)
            if loop.time() - unblocked > _UNBLOCK_SECONDS:
                unblocked = loop.time()
                world.unblock()


async def _greet(database: SimulatedDatabase) -> None:
    async with database.work() as work:
        await work.execute(sa.select(1))
    async with database.read() as connection:
        await connection.execute(sa.select(1))
    await database.close()


def _unexpected(world: World, context: dict[str, Any]) -> None:
    """What no task awaits is noticed all the same."""
    error = context.get("exception")
    if not isinstance(error, Stopped):
        world.problems.append(f"no error goes unseen: {context['message']}: {error!r}")
