"""Idempotency keys of requests that PostgreSQL leaves halfway: none runs twice, none is refused for longer than it must be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.responses import JSONResponse, Response

from trenza.chassis.context import Principal
from trenza.chassis.data import Database, DatabaseUnavailable, UnitOfWork
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.http.idempotency import Idempotency, IdempotencyKeyInUse
from trenza.chassis.testing.clock import ManualClock
from trenza.chassis.testing.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

orders = sa.Table("orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True, autoincrement=True))
LINGER = (
    "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END'",
    "CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON {table} INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()",
)
LINGERING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"


REFUSE = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''sold out''; END'",
    "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON orders INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
)


class Shop:
    """A service that takes orders, in one process or (``elsewhere``) in another one on the same database."""

    def __init__(self, database: Database, second: Database, engine: AsyncEngine, clock: ManualClock) -> None:
        self.here, self.elsewhere = Idempotency(database, clock), Idempotency(second, clock)
        self._database, self._second, self._engine = database, second, engine
        self.runs = 0
        self.at_work: Callable[[UnitOfWork], Awaitable[object]] | None = None
        self.committed: Callable[[], object] | None = None

    async def ordered(self, *, at: Idempotency | None = None) -> Response:
        """Send the request."""
        request: Any = {"principal": Principal(subject="ana"), "route": "/orders", "fingerprint": "f"}
        return await (at or self.here).run("k", produce=self._order, **request)

    async def until_free(self) -> Response:
        """What the other process answers once the key is not in use any more. Nothing here moves the clock."""
        async with asyncio.timeout(30):
            while True:
                with suppress(IdempotencyKeyInUse):
                    return await self.ordered(at=self.elsewhere)

    async def _order(self) -> Response:
        self.runs += 1
        number = self.runs
        async with self._database.work() as work:
            await work.execute(sa.insert(orders))
            if self.at_work is not None:
                await self.at_work(work)
        if self.committed is not None:
            self.committed()
        return JSONResponse({"order": number}, 201)

    async def run(self, *statements: str) -> None:
        """Change the database."""
        async with self._second.work() as work:
            for statement in statements:
                await work.execute(sa.text(statement))

    async def count(self, table: str = "orders") -> int:
        """How many rows have been committed."""
        async with self._second.read() as connection:
            return await connection.scalar(sa.select(sa.func.count()).select_from(sa.table(table))) or 0

    @asynccontextmanager
    async def commits_linger(self, table: str) -> AsyncIterator[None]:
        """For the block, commits that have written to this table do not come to their end."""
        await self.run(*(statement.format(table=table) for statement in LINGER))
        async with self._engine.connect() as holder:
            await holder.execute(sa.text("SELECT pg_advisory_lock(7)"))
            yield
            with suppress(DBAPIError):  # the server that knew of the lock is gone
                await holder.execute(sa.text("SELECT pg_advisory_unlock(7)"))

    async def is_committing(self) -> None:
        """Wait until somebody lingers in a commit."""
        async with asyncio.timeout(30), self._second.read() as connection:
            while not await connection.scalar(sa.text(LINGERING)):
                pass


@pytest.fixture
async def proxy(postgres_server: PostgresServer) -> AsyncIterator[TcpProxy]:
    """The network between the first process and PostgreSQL."""
    async with TcpProxy.before(f"{postgres_server.socket_folder}/.s.PGSQL.5432", 0) as proxy:
        yield proxy


@pytest.fixture
async def shop(postgres_url: str, proxy: TcpProxy, clock: ManualClock) -> AsyncIterator[Shop]:
    name = postgres_url.partition("@/")[2].partition("?")[0]
    through = f"postgresql+asyncpg://postgres@127.0.0.1:{proxy.port}/{name}"
    async with AsyncExitStack() as stack:
        database, second = (Database(url, schema="test") for url in (through, postgres_url))
        stack.push_async_callback(database.close)
        stack.push_async_callback(second.close)
        engine = create_async_engine(postgres_url, poolclass=sa.NullPool)
        await upgrade(second, None)
        async with second.work() as work:
            await work.connection.run_sync(orders.metadata.create_all)
        yield Shop(database, second, engine, clock)


class Halting:
    """Stops PostgreSQL in the midst of a request; it starts again at the end of the block."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._down = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._down.close()

    def now(self) -> None:
        self._down.enter_context(self._server.halted())

    async def at_work(self, work: UnitOfWork) -> None:
        """In an open unit of work, which notices it."""
        self.now()
        await work.execute(sa.select(orders))


@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_what_was_not_committed_runs_again_as_soon_as_the_database_is_back(
    shop: Shop, postgres_server: PostgresServer, where: str
) -> None:
    with Halting(postgres_server) as halting:
        shop.at_work = halting.at_work
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                await shop.ordered()
    shop.at_work = None
    again = await (shop.ordered() if where == "here" else shop.until_free())
    assert (again.status_code, "idempotency-replayed" in again.headers) == (201, False)
    assert (await shop.ordered()).headers["idempotency-replayed"] == "true"
    assert (shop.runs, await shop.count()) == (2, 1)


async def test_an_answer_that_cannot_be_kept_yet_is_given_and_kept_later(shop: Shop, postgres_server: PostgresServer) -> None:
    with Halting(postgres_server) as halting:
        shop.committed = halting.now
        assert (await shop.ordered()).status_code == 201
    for again in (await shop.ordered(), await shop.until_free()):
        assert (again.body, again.headers["idempotency-replayed"]) == (b'{"order":1}', "true")
    assert (shop.runs, await shop.count()) == (1, 1)


async def test_what_runs_here_does_not_run_again_however_long_the_database_is_away(
    shop: Shop, postgres_server: PostgresServer, clock: ManualClock
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: UnitOfWork) -> None:
        begun.set()
        await go_on.wait()

    shop.at_work = wait
    first = asyncio.create_task(shop.ordered())
    await begun.wait()
    with postgres_server.halted():
        clock.advance(61)
    with pytest.raises(IdempotencyKeyInUse):
        await shop.ordered()
    shop.at_work = None
    go_on.set()
    with pytest.raises(DatabaseUnavailable):
        await first
    assert (await shop.ordered()).status_code == 201
    assert (shop.runs, await shop.count()) == (2, 1)


async def refused(shop: Shop) -> set[Any]:
    """After how many seconds each of the two processes wants to be asked again."""
    seconds = set[Any]()
    for at in (shop.here, shop.elsewhere):
        with pytest.raises(IdempotencyKeyInUse) as refusal:
            await shop.ordered(at=at)
        seconds.add(refusal.value.fields["retry_after"])
    return seconds


async def test_what_was_committed_while_the_line_was_lost_is_refused_until_the_lease_ends(
    shop: Shop, proxy: TcpProxy, clock: ManualClock
) -> None:
    async with shop.commits_linger("orders"):
        ordering = asyncio.create_task(shop.ordered())
        await shop.is_committing()
        proxy.hold_answers()
    async with asyncio.timeout(30):
        while not await shop.count():
            pass
    proxy.cut()
    proxy.flow()
    with pytest.raises(DatabaseUnavailable):
        await ordering
    assert await refused(shop) == {60}
    clock.advance(45)
    assert await refused(shop) == {15}
    assert (shop.runs, await shop.count()) == (1, 1)


async def test_what_was_interrupted_in_its_commit_is_refused_until_the_lease_ends(
    shop: Shop, postgres_server: PostgresServer, clock: ManualClock
) -> None:
    async with shop.commits_linger("orders"):
        ordering = asyncio.create_task(shop.ordered())
        await shop.is_committing()
        with postgres_server.halted():
            pass
        with pytest.raises(DatabaseUnavailable):
            await ordering
    await refused(shop)
    clock.advance(61)
    assert (await shop.ordered()).status_code == 201
    assert (shop.runs, await shop.count()) == (2, 1)


async def test_what_the_database_refuses_to_commit_can_be_sent_again_at_once(shop: Shop) -> None:
    await shop.run(*REFUSE)
    with pytest.raises(DBAPIError, match="sold out"):
        await shop.ordered()
    await shop.run("DROP FUNCTION refuse CASCADE")
    assert (await shop.ordered(at=shop.elsewhere)).status_code == 201
    assert (shop.runs, await shop.count()) == (2, 1)


async def test_a_claim_whose_commit_was_not_heard_of_holds_up_nobody(shop: Shop, proxy: TcpProxy) -> None:
    async with shop.commits_linger("idempotency_keys"):
        ordering = asyncio.create_task(shop.ordered())
        await shop.is_committing()
        proxy.hold_answers()
    async with asyncio.timeout(30):
        while not await shop.count("idempotency_keys"):
            pass
    proxy.cut()
    proxy.flow()
    with pytest.raises(DatabaseUnavailable):
        await ordering
    assert shop.runs == 0
    assert (await shop.until_free()).status_code == 201
    assert (shop.runs, await shop.count()) == (1, 1)
