"""What must be true once everything has settled, read from the databases themselves."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from trenza.chassis.messages.schedules import fire_times, latest_fire_time
from trenza.chassis.testing.simulation.process import START
from trenza.chassis.testing.simulation.workload import HANDLERS, SCHEDULES, handler_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from trenza.chassis.messages.definitions import Handler

__all__ = ["problems_of", "unsettled"]

_PUBLISHERS = {"orders.Fact": "orders", "billing.Reply": "billing"}

_TICK = timedelta(microseconds=1)


def unsettled(databases: Mapping[str, sqlite3.Connection], now: datetime) -> str:
    """What is still to be done, in a few words; empty when nothing is."""
    for service, connection in databases.items():
        states = "SELECT state, count(*) FROM inbox WHERE state IN ('waiting', 'delayed', 'running') GROUP BY state"
        if left := dict(connection.execute(states).fetchall()):
            return f"the inbox of {service} holds {left}"
        if left := connection.execute("SELECT count(*) FROM outbox WHERE state = 'waiting'").fetchone()[0]:
            return f"the outbox of {service} holds {left}"
        for schedule in SCHEDULES[service]:
            fired_until = _fired_until(connection, schedule.name)
            if (latest_fire_time(schedule, START, now) or START) > max(fired_until, START):
                return f"the schedule {schedule.name} has fired until {fired_until} only"
    return ""


def problems_of(databases: Mapping[str, sqlite3.Connection], *, cancelled: set[UUID], rollout: bool) -> Iterator[str]:
    """Each rule that was broken, in a line. ``cancelled`` are the tasks whose cancellation was asked for.

    ``rollout`` says that billing had no handlers on one machine: what came there may be handled after its
    successors.
    """
    for service, connection in databases.items():
        for rule, detail in connection.execute("SELECT rule, detail FROM violations"):
            yield f"{rule}: {service}: {detail}"
    events = _committed_events(databases)
    for service, connection in databases.items():
        yield from _Inbox(
            service, connection, {task.hex for task in cancelled}, ordered=not (rollout and service == "billing")
        ).problems(events)
        yield from _unpublished(service, connection)
        yield from _schedules(service, connection)


def _rows(connection: sqlite3.Connection, statement: str) -> list[dict[str, Any]]:
    cursor = connection.execute(statement)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _committed_events(databases: Mapping[str, sqlite3.Connection]) -> dict[str, dict[str, int]]:
    """By event type: the ids of committed events, with their place in the order of commits."""
    found: dict[str, dict[str, int]] = {}
    for type_, service in _PUBLISHERS.items():
        statement = "SELECT message_id, position FROM facts WHERE kind = 'event'"
        found[type_] = dict(databases[service].execute(statement).fetchall())
    return found


def _unpublished(service: str, connection: sqlite3.Connection) -> Iterator[str]:
    """What is in the outbox is what was committed."""
    sent = Counter(row[0] for row in connection.execute("SELECT message_id FROM outbox"))
    committed = Counter(row[0] for row in connection.execute("SELECT message_id FROM facts WHERE kind = 'event'"))
    if sent != committed:
        yield f"the outbox is what was committed: {service}: {sent} is not {committed}"


def _fired_until(connection: sqlite3.Connection, name: str) -> datetime:
    row = connection.execute("SELECT fired_until FROM schedules WHERE name = ?", (name,)).fetchone()
    return datetime.fromisoformat(row[0]).replace(tzinfo=UTC) if row else START


def _schedules(service: str, connection: sqlite3.Connection) -> Iterator[str]:
    """Each firing has its one task, at a fire time of the schedule."""
    for schedule in SCHEDULES[service]:
        fired = [row[0] for row in connection.execute("SELECT fire_time FROM firings WHERE name = ?", (schedule.name,))]
        tasks = connection.execute("SELECT count(*) FROM inbox WHERE type = ?", (schedule.task.message_type,)).fetchone()[0]
        if tasks != len(fired):
            yield f"a fire time gives one task: {schedule.name} has fired at {fired} and has {tasks} tasks"
        if len(set(fired)) != len(fired):
            yield f"a fire time fires at most once: {schedule.name}: {fired}"
        for moment in fired:
            time = datetime.fromisoformat(moment).replace(tzinfo=UTC)
            if next(fire_times(schedule, time - _TICK)) != time:
                yield f"a schedule fires at its fire times: {schedule.name}: {moment}"


class _Inbox:
    """The inbox of one service after all is settled, beside the effects that its handlers had."""

    def __init__(self, service: str, connection: sqlite3.Connection, cancelled: set[str], *, ordered: bool) -> None:
        self._service = service
        self._connection = connection
        self._cancelled = cancelled
        self._ordered = ordered
        self._messages = _rows(connection, "SELECT * FROM inbox ORDER BY position")
        self._effects = _rows(connection, "SELECT * FROM effects ORDER BY position")
        self._redriven = {row[0] for row in connection.execute("SELECT message FROM redriven")}
        self._spent: defaultdict[int, list[str]] = defaultdict(list)
        for message, why in connection.execute("SELECT message, why FROM spent"):
            self._spent[message].append(why or "")

    def problems(self, events: dict[str, dict[str, int]]) -> Iterator[str]:
        """What is wrong with it."""
        yield from self._arrivals(events)
        counts = Counter((effect["message_id"], effect["consumer"]) for effect in self._effects)
        for message in self._messages:
            yield from self._ending(message, counts.pop((message["message_id"], message["consumer"]), 0))
        if counts:
            yield f"an effect has a message: {self._service}: {counts} have none"
        if self._ordered:
            yield from self._order(events)

    def _arrivals(self, events: dict[str, dict[str, int]]) -> Iterator[str]:
        """Each committed event is there once for each consumer, each committed task once, and nothing else."""
        expected = Counter(
            (message, handler.consumer)
            for handler in HANDLERS[self._service]
            for message in events.get(handler.message.message_type, ())
        )
        tasks = self._connection.execute("SELECT DISTINCT message_id FROM facts WHERE kind = 'task'")
        expected.update((row[0], "settle_job") for row in tasks)
        there = Counter((m["message_id"], m["consumer"]) for m in self._messages if m["consumer"] != "go_round")
        if lost := expected - there:
            yield f"what was committed arrives: {self._service}: {dict(lost)} did not"
        if surplus := there - expected:
            yield f"only what was committed arrives, and once: {self._service}: {dict(surplus)}"

    def _ending(self, message: dict[str, Any], effects: int) -> Iterator[str]:
        """A message ends in one of few ways, each with the effects that belong to it."""
        data = orjson.loads(message["envelope"])["data"]
        name = f"{self._service}: {message['consumer']} {data['number']} ({message['state']})"
        conduct, handler = data["conduct"], handler_of(message["consumer"])
        due = 1 if message["state"] == "completed" and conduct["writes"] else 0
        if effects != due:
            yield f"a message takes effect once: {name} did {effects} times instead of {due}"
        if message["lease_token"] is not None or message["lease_until"] is not None:
            yield f"an ended message has no lease: {name}"
        match message["state"]:
            case "completed":
                if conduct["rejects"] or conduct["fails"] >= handler.attempts:
                    yield f"who raises does not complete: {name}"
            case "failed" | "discarded":
                yield from self._letter(name, message, conduct, handler)
            case "cancelled":
                if message["message_id"] not in self._cancelled:
                    yield f"only what somebody cancels is cancelled: {name}"
            case _:
                yield f"every message ends: {name}"
        if message["attempts"] > handler.attempts:
            yield f"attempts never exceed the limit: {name} has {message['attempts']}"

    def _letter(self, name: str, message: dict[str, Any], conduct: dict[str, Any], handler: Handler) -> Iterator[str]:
        """A dead letter tells why, and every attempt that it took is accounted for."""
        reason, attempts, spent = message["reason"], message["attempts"], self._spent[message["position"]]
        if not message["error"]:
            yield f"a dead letter holds its error: {name}"
        if reason == "rejected":
            if not conduct["rejects"]:
                yield f"only what is rejected is a rejected letter: {name}"
            return
        if reason != "attempts_exhausted":
            yield f"nothing here is {reason}: {name}"
        if attempts != handler.attempts:
            yield f"a letter has had all attempts: {name} had {attempts} of {handler.attempts}"
        if len(spent) < handler.attempts - 1:
            yield f"every attempt is accounted for: {name} had {attempts}, known are {spent}"
        told = sum("told to" in why for why in spent) + ("told to" in message["error"])
        stalled = sum("took longer" in why for why in spent) + ("took longer" in message["error"])
        if told > conduct["fails"] or (stalled > conduct["stalls"] and conduct["seconds"] < handler.timeout):
            yield f"an attempt fails only where its handler does: {name}: {spent}"

    def _order(self, events: dict[str, dict[str, int]]) -> Iterator[str]:
        """Of one consumer and ordering key, events take effect as they were committed, and tasks as they were stored."""
        messages = {(m["message_id"], m["consumer"]): m for m in self._messages}
        last: dict[tuple[str, str, str], int] = {}
        for effect in self._effects:
            message = messages.get((effect["message_id"], effect["consumer"]))
            if effect["key"] is None or message is None or message["position"] in self._redriven:
                continue
            if message["kind"] == "task" and message["due_at"] != message["created_at"]:
                continue  # it was delayed, and took its place when it was claimed first
            place = message["position"] if message["kind"] == "task" else events[effect["type"]].get(effect["message_id"], 0)
            line = (effect["consumer"], effect["type"], effect["key"])
            if place < last.get(line, 0):
                yield f"a key keeps its order: {self._service}: {line} had {last[line]} before {place}"
            last[line] = place
