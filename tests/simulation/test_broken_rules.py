"""The simulation notices when a rule of the message layer is broken: each of these breaks one on purpose."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from trenza.chassis.messages import Messages
from trenza.chassis.messages.outbox import Batch
from trenza.chassis.messages.relay import Relay
from trenza.chassis.messages.transports.base import Transport
from trenza.chassis.testing.simulation.simulation import Rules, Simulation

SEEDS = 60
"""A breach that it takes more seeds to find is as good as not noticed."""


class Statement:
    """Changes each statement that matches, and counts how many did: where the SQL has changed, so must the breach."""

    def __init__(self, pattern: str, becomes: str) -> None:
        self._pattern = re.compile(pattern, re.DOTALL)
        self._becomes = becomes
        self.changed = 0

    def __call__(self, statement: str) -> str:
        statement, count = self._pattern.subn(self._becomes, statement)
        self.changed += count
        return statement


class HastyRelay(Relay):
    """Marks what it has claimed as sent before the transport has it."""

    async def _publish_waiting(self, transport: Transport) -> bool:
        async with self._turns:
            sent: Batch | None = None
            while (batch := await self._outbox.claim(200, timedelta(seconds=30), sent=sent)) is not None:
                if sent is not None:
                    await transport.publish(sent.messages)
                if not batch.messages:
                    return True
                sent = batch
            return False


class HastyMessages(Messages):
    """Messages with a `HastyRelay`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._relay = HastyRelay(self._outbox, self.service_name)


def without_a_key(connection: sqlite3.Connection) -> None:
    """Make the inbox anew without the constraint that a message is stored once for each consumer."""
    made = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE tbl_name = 'inbox' AND sql IS NOT NULL ORDER BY rootpage = 0, rowid"
    )
    statements = [row[0] for row in made]
    table, count = re.subn(r",\s*CONSTRAINT inbox_message_consumer UNIQUE \([^)]*\)", "", statements[0])
    assert count == 1
    connection.execute("DROP TABLE inbox")
    for statement in (table, *statements[1:]):
        connection.execute(statement)


def without_the_unique_index(connection: sqlite3.Connection) -> None:
    """Let nothing stand in the way of two unfinished tasks with one unique key."""
    connection.execute("DROP INDEX inbox_unique")


CLAIM_IGNORES_KEYS = (r"inbox\.ordering_key IS NULL OR NOT", "1 OR NOT")
COMPLETION_IGNORES_THE_TOKEN = (
    r"(progress=\? WHERE )\(inbox\.position, inbox\.lease_token\) IN \((SELECT [^,]*, '\$\[0\]'\)), [^,]*, '\$\[1\]'\) FROM",
    r"\1inbox.position IN (\2 FROM",
)
RECOVERY_TAKES_LIVING_LEASES = (r"inbox\.lease_until <= \?", "(inbox.lease_until <= ? OR 1)")
RECOVERY_RESETS_ATTEMPTS = (r"(lease_token=\?, lease_until=\?)( WHERE inbox\.position IN \(SELECT inbox)", r"\1, attempts=0\2")
SCHEDULES_GO_BACK = (r"schedules\.fired_until < \?", "(schedules.fired_until < ? OR 1)")


def rules_of(breach: tuple[str, str] | Rules) -> tuple[Rules, Statement | None]:
    if isinstance(breach, Rules):
        return breach, None
    statement = Statement(*breach)
    return replace(Rules(), statement=statement), statement


@pytest.mark.parametrize(
    ("breach", "noticed"),
    [
        pytest.param(COMPLETION_IGNORES_THE_TOKEN, "only its holder ends a lease", id="completion without the token's guard"),
        pytest.param(Rules(messages=HastyMessages), "what was committed arrives", id="the relay marks before it publishes"),
        pytest.param(Rules(schema=without_a_key), "only what was committed arrives, and once", id="an inbox without its key"),
        pytest.param(CLAIM_IGNORES_KEYS, "an ordering key has two running messages", id="claims ignore ordering keys"),
        pytest.param(RECOVERY_TAKES_LIVING_LEASES, "only its holder ends a lease", id="recovery takes living leases"),
        pytest.param(RECOVERY_RESETS_ATTEMPTS, "only its holder takes an attempt back", id="recovery resets attempts"),
        pytest.param(Rules(schema=without_the_unique_index), "a unique key has two unfinished tasks", id="no unique key"),
        pytest.param(SCHEDULES_GO_BACK, "a schedule goes forwards", id="schedules fire twice"),
    ],
)
def test_a_broken_rule_is_noticed(folder: Path, breach: tuple[str, str] | Rules, noticed: str) -> None:
    rules, statement = rules_of(breach)
    with Simulation(folder, rules) as simulation:
        problems = [problem for seed in _until(simulation, noticed) for problem in seed]
    assert statement is None or statement.changed > 0
    assert any(problem.startswith(noticed) for problem in problems), problems


def _until(simulation: Simulation, noticed: str) -> list[tuple[str, ...]]:
    """What each seed finds, up to the first that finds what is looked for."""
    found: list[tuple[str, ...]] = []
    for seed in range(SEEDS):
        found.append(simulation.run(seed).problems)
        if any(problem.startswith(noticed) for problem in found[-1]):
            break
    return found
