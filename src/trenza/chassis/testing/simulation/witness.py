"""Tables and triggers beside the message tables that note effects, and each breach of a rule together with what commits it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from trenza.chassis.data import Database
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.testing.simulation.process import SimulatedProcess, here

__all__ = ["Witness", "effects", "facts", "make_template"]

_metadata = sa.MetaData()

facts = sa.Table(
    "facts",
    _metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("message_id", sa.Uuid, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
)
"""What producers wrote in the unit of work in which they sent the message: whether it was committed."""

effects = sa.Table(
    "effects",
    _metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("message_id", sa.Uuid, nullable=False),
    sa.Column("consumer", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("key", sa.Text),
    sa.Column("attempt", sa.Integer, nullable=False),
)
"""What handlers wrote in the unit of work that ended their delivery."""

_SCHEMA = """
CREATE TABLE violations (rule TEXT NOT NULL, detail TEXT NOT NULL);
CREATE TABLE spent (message INTEGER NOT NULL, why TEXT NOT NULL);
CREATE TABLE redriven (message INTEGER NOT NULL);
CREATE TABLE firings (name TEXT NOT NULL, fire_time TEXT NOT NULL);

CREATE TRIGGER witness_claim AFTER UPDATE ON inbox
WHEN NEW.state = 'running' AND OLD.state <> 'running' BEGIN
  SELECT witness_claimed(NEW.lease_token);
  INSERT INTO violations SELECT 'an ordering key has two running messages', NEW.consumer || ' ' || NEW.ordering_key
    WHERE EXISTS (SELECT 1 FROM inbox WHERE consumer = NEW.consumer AND ordering_key = NEW.ordering_key AND state = 'running'
                  AND position <> NEW.position);
  INSERT INTO violations SELECT 'a claim counts one attempt', 'position ' || NEW.position || ': ' || NEW.attempts
    WHERE NEW.attempts <> OLD.attempts + 1;
END;

CREATE TRIGGER witness_end AFTER UPDATE ON inbox
WHEN OLD.state = 'running' AND (NEW.state <> 'running' OR NEW.lease_token IS NOT OLD.lease_token) BEGIN
  INSERT INTO violations SELECT 'only its holder ends a lease before its time',
      'position ' || NEW.position || ' to ' || NEW.state || ', leased until ' || OLD.lease_until || ', now ' || witness_now()
    WHERE NOT witness_holds(OLD.lease_token)
      AND NOT (NEW.state IN ('waiting', 'cancelled') AND OLD.lease_until <= witness_now());
  INSERT INTO violations SELECT 'only its holder takes an attempt back', 'position ' || NEW.position || ': ' || NEW.attempts
    WHERE NEW.attempts < OLD.attempts AND NOT (NEW.attempts = OLD.attempts - 1 AND witness_holds(OLD.lease_token));
  INSERT INTO spent SELECT NEW.position, iif(NEW.state = 'delayed', NEW.error, 'lease ran out')
    WHERE NEW.attempts = OLD.attempts AND NEW.state IN ('waiting', 'delayed');
END;

CREATE TRIGGER witness_settled AFTER UPDATE ON inbox
WHEN OLD.state IN ('completed', 'cancelled', 'discarded') AND NEW.state <> OLD.state BEGIN
  INSERT INTO violations VALUES ('what has ended stays so', 'position ' || NEW.position || ': now ' || NEW.state);
END;

CREATE TRIGGER witness_redriven AFTER UPDATE ON inbox
WHEN OLD.state = 'failed' AND NEW.state NOT IN ('failed', 'discarded') BEGIN
  INSERT INTO redriven VALUES (NEW.position);
  DELETE FROM spent WHERE message = NEW.position;
END;

CREATE TRIGGER witness_unique AFTER INSERT ON inbox
WHEN NEW.unique_key IS NOT NULL BEGIN
  INSERT INTO violations SELECT 'a unique key has two unfinished tasks', NEW.type || ' ' || NEW.unique_key
    WHERE EXISTS (SELECT 1 FROM inbox WHERE type = NEW.type AND unique_key = NEW.unique_key AND position <> NEW.position
                  AND state IN ('waiting', 'delayed', 'running'));
END;

CREATE TRIGGER witness_sent AFTER UPDATE ON outbox
WHEN OLD.state = 'sent' AND NEW.state <> 'sent' BEGIN
  INSERT INTO violations VALUES ('what was sent stays so', 'position ' || NEW.position);
END;

CREATE TRIGGER witness_firing AFTER UPDATE ON schedules BEGIN
  INSERT INTO violations SELECT 'a schedule goes forwards', NEW.name || ': ' || OLD.fired_until || ' to ' || NEW.fired_until
    WHERE NEW.fired_until <= OLD.fired_until;
  INSERT INTO firings VALUES (NEW.name, NEW.fired_until);
END;
"""


class Witness:
    """Answers the triggers: which process runs this statement, what its clock shows, and which leases it has taken."""

    def __init__(self) -> None:
        self._holders: dict[str, SimulatedProcess | None] = {}

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Let triggers ask over this connection."""
        connection.create_function("witness_claimed", 1, self._claimed)
        connection.create_function("witness_holds", 1, self._holds)
        connection.create_function("witness_now", 0, self._now)

    def forget(self) -> None:
        """Begin another simulation."""
        self._holders.clear()

    def _claimed(self, token: str) -> None:
        self._holders[token] = here()

    def _holds(self, token: str) -> bool:
        return token in self._holders and self._holders[token] is here()

    def _now(self) -> str:
        process = here()
        if process is None:
            raise RuntimeError("only simulated processes write")
        return process.clock.latest().replace(tzinfo=None).isoformat(" ", "microseconds")


def make_template(path: Path) -> sqlite3.Connection:
    """A database of one service, with the message tables as migrations make them and the witness's own; read-only by intent."""
    asyncio.run(_migrate(path))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(_SCHEMA)
    return connection


async def _migrate(path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{path}", schema="template")
    try:
        await upgrade(database, None)
        async with database.work() as work:
            await work.connection.run_sync(_metadata.create_all)
    finally:
        await database.close()
