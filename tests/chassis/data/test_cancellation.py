from __future__ import annotations

import asyncio
import random

import pytest
import sqlalchemy as sa

from trenza.chassis.data import Database, DatabaseUnavailable


async def _write(database: Database, started: asyncio.Event) -> None:
    async with database.work() as work:
        started.set()
        await work.execute(sa.text("INSERT INTO readings VALUES (1)"))
        await work.execute(sa.text("SELECT count(*) FROM readings"))
        await work.execute(sa.text("INSERT INTO readings VALUES (2)"))


@pytest.mark.parametrize("seed", range(4))
async def test_work_that_is_cancelled_anywhere_leaves_no_lock_behind(database_url: str, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - which await is cut, not a secret
    database = Database(database_url, schema="public")
    try:
        async with database.work() as work:
            await work.execute(sa.text("CREATE TABLE readings (value integer)"))
        for _ in range(12):
            started = asyncio.Event()
            writers = [asyncio.create_task(_write(database, started)) for _ in range(8)]
            await started.wait()
            for _ in range(chance.randrange(20)):  # so many turns of the loop further on
                await asyncio.sleep(0)
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)
            async with asyncio.timeout(10), database.work() as work:  # SQLite would wait 15 s for a lock that nobody holds
                await work.execute(sa.text("INSERT INTO readings VALUES (3)"))
        async with database.read() as connection:
            ones = await connection.scalar(sa.text("SELECT count(*) FROM readings WHERE value = 1"))
            twos = await connection.scalar(sa.text("SELECT count(*) FROM readings WHERE value = 2"))
        assert ones == twos, "a unit of work was committed in part"
    finally:
        await database.close()


async def test_a_database_that_is_away_is_said_to_be() -> None:
    database = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing", schema="shop")
    with pytest.raises(DatabaseUnavailable, match="the database of shop does not answer"):
        async with database.work():
            pass
    with pytest.raises(DatabaseUnavailable, match="the database of shop does not answer"):
        async with database.read():
            pass
    await database.close()
