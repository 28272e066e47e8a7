"""Events over each broker take effect once and in order, whatever is killed meanwhile. Asserted on effects, never on logs."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from trenza.chassis.data import Database
from trenza.chassis.failpoints import Failpoint

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

    from trenza.chassis.testing.brokers import Broker

EVENTS = int(os.environ.get("CONFORMANCE_EVENTS", "300"))
KILLS = int(os.environ.get("CONFORMANCE_KILLS", "2"))
SEED = int(os.environ.get("CONFORMANCE_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
EACH = os.environ.get("CONFORMANCE_POINTS") == "all"
OVENS = 23
CONSUMERS = 3
PER_EVENT, PER_TEST = 0.1, 120.0
"""Seconds: far more than either takes, a limit to a test that hangs."""
PROCESS = Path(__file__).with_name("process.py")
BY_BAKERY = (
    Failpoint.WORK_BEFORE_COMMIT,
    Failpoint.WORK_COMMITTED,
    Failpoint.RELAY_CLAIMED,
    Failpoint.RELAY_PUBLISHED,
    Failpoint.RELAY_BEFORE_MARK,
    Failpoint.RELAY_MARKED,
)
BY_SHOP = (
    Failpoint.INBOX_BEFORE_STORE,
    Failpoint.INBOX_STORED,
    Failpoint.WORKER_CLAIMING,
    Failpoint.WORKER_CLAIMED,
    Failpoint.HANDLER_BEGINS,
    Failpoint.HANDLER_FINISHING,
    Failpoint.HANDLER_GUARDED,
    Failpoint.HANDLER_BEFORE_COMMIT,
    Failpoint.HANDLER_COMMITTED,
    Failpoint.HANDLER_RETURNED,
)
IN_BATCHES = (Failpoint.INBOX_BEFORE_STORE, Failpoint.INBOX_STORED)
"""Where all may come at once, so that there is no second time."""
SAMPLE = (Failpoint.INBOX_STORED,)
"""Where broker and receiver know least of each other."""


class Bakery:
    """Two services on databases of their own, each in as many processes as a test wants."""

    def __init__(self, broker: Broker, urls: dict[str, str], folder: Path, events: int) -> None:
        self.events = events
        self.broker = broker
        self.seconds = PER_TEST + PER_EVENT * events
        self._urls = urls
        self._transport = broker.url(f"t{uuid4().hex[:12]}")
        self._folder = folder
        self._processes: list[asyncio.subprocess.Process] = []

    @asynccontextmanager
    async def shop(self) -> AsyncIterator[Database]:
        """The shop's database, to look into."""
        database = Database(self._urls["shop"], schema="shop")
        try:
            yield database
        finally:
            await database.close()

    async def start(
        self, service: str, *, failpoint: str | None = None, loaves: int | None = None, clock: Path | None = None
    ) -> asyncio.subprocess.Process:
        """A process that has begun to work. A bakery bakes so many ``loaves`` (else all of them) and then what is ordered.

        ``clock`` is a file with the seconds by which the clock of the process is ahead.
        """
        own = {"TRENZA_FAILPOINT": failpoint, "BAKERY_CLOCK": None if clock is None else str(clock)}
        with (self._folder / "stderr.txt").open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(PROCESS),
                service,
                self._urls[service],
                self._transport,
                str(self._folder),
                str(self.events if loaves is None else loaves),
                str(OVENS),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=os.environ | {name: value for name, value in own.items() if value is not None},
            )
        self._processes.append(process)
        await self.says(process, "started")
        return process

    async def says(self, process: asyncio.subprocess.Process, word: str) -> None:
        """Wait for the next line of a process, and show that it is this one."""
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        assert line.decode() == f"{word}\n", (self._folder / "stderr.txt").read_text()[-3000:]

    @staticmethod
    def order(baker: asyncio.subprocess.Process, loaves: int) -> None:
        """Have a bakery go on until there are so many loaves."""
        assert baker.stdin is not None
        baker.stdin.write(f"{loaves}\n".encode())

    async def end(self) -> None:
        """Leave no process behind, whatever a test has come to."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def shelved(self) -> list[tuple[int, int]]:
        """Loaf and oven of each effect, in the order of their commits within each oven."""
        async with self.shop() as database, database.read() as connection:
            rows = await connection.execute(sa.text("SELECT loaf, oven FROM shelved ORDER BY position"))
            return [(row.loaf, row.oven) for row in rows]

    async def reached(self, count: float) -> None:
        """Wait until there are so many effects."""
        async with asyncio.timeout(self.seconds), self.shop() as database:
            while True:
                async with database.read() as connection:
                    if (await connection.execute(sa.text("SELECT count(*) FROM shelved"))).scalar_one() >= count:
                        return
                await asyncio.sleep(0.05)  # it happens in other processes

    async def all_shelved(self) -> None:
        """Wait until there are as many effects as events, and show that each is there once, in order."""
        await self.reached(self.events)
        found = await self.shelved()
        assert sorted(loaf for loaf, _ in found) == list(range(self.events)), f"lost or twice (CONFORMANCE_SEED={SEED})"
        for oven in range(OVENS):
            loaves = [loaf for loaf, of in found if of == oven]
            assert loaves == sorted(loaves), f"oven {oven} (CONFORMANCE_SEED={SEED})"


MakeBakery = Callable[..., Any]


@pytest.fixture(params=["sqlite", "postgres"] if EACH else ["postgres"])
async def make_bakery(request: pytest.FixtureRequest, broker: Broker, tmp_path: Path) -> AsyncIterator[MakeBakery]:
    """Makes the two services, on databases of either kind."""
    made_here: list[Bakery] = []

    async def make_bakery(events: int) -> Bakery:
        if request.param == "sqlite":
            urls = {name: f"sqlite+aiosqlite:///{tmp_path / name}.sqlite3" for name in ("bakery", "shop")}
        else:
            url: str = request.getfixturevalue("postgres_url")
            urls = dict.fromkeys(("bakery", "shop"), url)
        places = [text for place in urls.items() for text in place]
        made = await asyncio.create_subprocess_exec(sys.executable, str(PROCESS), "prepare", *places)
        assert await made.wait() == 0
        bakery = Bakery(broker, urls, tmp_path, events)
        made_here.append(bakery)
        return bakery

    yield make_bakery
    for bakery in made_here:
        await bakery.end()


async def stopped(process: asyncio.subprocess.Process) -> None:
    """End it in order, and see that it does."""
    process.terminate()
    async with asyncio.timeout(60):
        assert await process.wait() == 0


@pytest.mark.timeout(PER_TEST * 3 + PER_EVENT * EVENTS)
async def test_every_effect_happens_once_and_in_order_whatever_is_killed(broker: Broker, make_bakery: MakeBakery) -> None:
    """Three consumers; SIGKILL for any of the four processes and, where it keeps its messages, for the broker."""
    chance = random.Random(SEED)  # noqa: S311 - no secret
    bakery = await make_bakery(EVENTS)
    roles = [*["shop"] * CONSUMERS, "bakery"]  # what is published before anybody has subscribed is gone
    processes = [await bakery.start(role) for role in roles]
    # A broker that keeps the dead would keep their partitions too, and forgets what is in flight when it is started again.
    mortal = [roles.index("bakery")] if broker.keeps_the_dead else range(len(roles))
    victims = [chance.choice(mortal) for _ in range(KILLS)]
    restart_at = chance.randrange(KILLS) if broker.lasting and not broker.keeps_the_dead else None
    for turn, victim in enumerate(victims):
        await bakery.reached(EVENTS * (turn + 0.5) / (KILLS + 1))
        processes[victim].kill()
        await processes[victim].wait()
        if turn == restart_at:
            await asyncio.to_thread(broker.stop)
            await asyncio.to_thread(broker.start)
        processes[victim] = await bakery.start(roles[victim])
    await bakery.all_shelved()
    await asyncio.gather(*(stopped(process) for process in processes))


@pytest.mark.timeout(PER_TEST * 3)
@pytest.mark.parametrize("point", [*BY_BAKERY, *BY_SHOP] if EACH else SAMPLE)
async def test_a_process_that_dies_at_a_point_loses_and_repeats_nothing(point: Failpoint, make_bakery: MakeBakery) -> None:
    bakery = await make_bakery(200)
    dying = "bakery" if point in BY_BAKERY else "shop"
    if bakery.broker.keeps_the_dead and dying == "shop":
        pytest.skip(f"{bakery.broker.name} leaves to a killed member what it was handed")
    turn = 1 if point in IN_BATCHES else 2
    processes = {
        role: await bakery.start(role, failpoint=f"{point}:{turn}" if role == dying else None)
        for role in ("shop", "bakery")  # what is published before anybody has subscribed is gone
    }
    async with asyncio.timeout(bakery.seconds):
        assert await processes[dying].wait() == -9, f"it did not come to {point}"
    processes[dying] = await bakery.start(dying)
    await bakery.all_shelved()
    await asyncio.gather(*(stopped(process) for process in processes.values()))


@pytest.mark.timeout(PER_TEST * 3 + PER_EVENT * EVENTS)
@pytest.mark.parametrize("make_bakery", ["postgres"], indirect=True)
async def test_a_database_that_restarts_under_load_loses_and_repeats_nothing(
    make_bakery: MakeBakery, postgres_server: PostgresServer
) -> None:
    """That of all processes, while events are announced, on their way, and being handled."""
    bakery = await make_bakery(EVENTS)
    processes = await asyncio.gather(bakery.start("shop"), bakery.start("shop"), bakery.start("bakery", loaves=0))
    bakery.order(processes[-1], EVENTS // 3)
    await bakery.reached(1)
    bakery.order(processes[-1], EVENTS * 2 // 3)
    with postgres_server.halted():
        bakery.order(processes[-1], EVENTS)
        await bakery.says(processes[-1], "refused")
    await bakery.all_shelved()
    await asyncio.gather(*(stopped(process) for process in processes))


@pytest.mark.timeout(PER_TEST * 3 + PER_EVENT * EVENTS)
async def test_clocks_that_jump_lose_and_repeat_nothing(make_bakery: MakeBakery, tmp_path: Path) -> None:
    """Of two processes of each service one is put forward by an hour and back by two, while events flow."""
    bakery, clock = await make_bakery(EVENTS), tmp_path / "clock"

    def move(seconds: int) -> None:
        written = clock.with_suffix(".new")
        written.write_text(str(seconds))
        written.replace(clock)

    move(0)
    processes = await asyncio.gather(
        bakery.start("shop"),
        bakery.start("shop", clock=clock),
        bakery.start("bakery", loaves=0),  # it relays what the other one announces
        bakery.start("bakery", loaves=0, clock=clock),
    )
    bakery.order(processes[-1], EVENTS // 4)
    for turn, seconds in enumerate((3600, -3600, 0), 2):
        await bakery.reached(EVENTS * (turn - 1.5) / 4)
        bakery.order(processes[-1], EVENTS * turn // 4)
        move(seconds)
    await bakery.all_shelved()
    await asyncio.gather(*(stopped(process) for process in processes))
