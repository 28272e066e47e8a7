"""``trenza dead-letters``: what could not be handled, and what an operator does about it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import orjson
import typer

from trenza.chassis.messages import DeadLetter, DeadLetters, Messages
from trenza.cli.confirming import confirm
from trenza.cli.errors import Failure, UsageFailure
from trenza.cli.message_stores import Scope
from trenza.cli.tables import print_json, print_record, print_table

__all__ = ["Scope", "settle", "show_list", "show_one"]

_SETTLED = {"redrive": "redriven", "discard": "discarded"}


def show_list(scope: Scope, *, limit: int, as_json: bool) -> None:
    """Print dead letters, the oldest first."""

    async def collect() -> list[tuple[str, DeadLetter]]:
        found: list[tuple[str, DeadLetter]] = []
        async with scope.open() as stores:
            for service, messages in stores.items():
                found += [(service, letter) for letter in await _oldest(messages.dead_letters, limit)]
        return sorted(found, key=lambda entry: entry[1].failed_at)[:limit]

    letters = asyncio.run(collect())
    if as_json:
        print_json([_record(service, letter) for service, letter in letters])
        return
    lines = [
        (
            str(letter.id),
            service,
            letter.type,
            letter.consumer,
            letter.reason,
            str(letter.attempts),
            f"{letter.failed_at:%Y-%m-%d %H:%M:%S}",
            letter.error or "",
        )
        for service, letter in letters
    ]
    headings = ("ID", "SERVICE", "TYPE", "CONSUMER", "REASON", "ATTEMPTS", "FAILED", "ERROR")
    print_table(headings, lines, empty="no dead letters")


async def _oldest(letters: DeadLetters, limit: int) -> list[DeadLetter]:
    """The oldest dead letters of one service, page by page."""
    found: list[DeadLetter] = []
    cursor = None
    while len(found) < limit:
        page = await letters.list(limit=limit - len(found), cursor=cursor)
        found += page.letters
        cursor = page.cursor
        if cursor is None:
            break
    return found


def show_one(scope: Scope, message_id: UUID, *, as_json: bool) -> None:
    """Print a message's dead letters (one for each consumer) with payload and error."""

    async def find() -> list[dict[str, object]]:
        async with scope.open() as stores:
            return [
                _record(service, letter)
                for service, messages in stores.items()
                for letter in await messages.dead_letters.show(message_id)
            ]

    records = asyncio.run(find())
    if not records:
        raise Failure(f"no dead letter {message_id}; `trenza dead-letters list` shows them")
    if as_json:
        print_json(records)
        return
    for record in records:
        print_record(record)


def settle(
    scope: Scope, what: Literal["redrive", "discard"], message_ids: Sequence[UUID], *, everything: bool, confirmed: bool
) -> None:
    """Redrive or discard the letters named, or all of them after a confirmation."""
    if bool(message_ids) == everything:
        raise UsageFailure(f"name the dead letters to {what} by their ids, or say --all")
    if everything and not confirmed:
        confirm(f"{what.capitalize()} every dead letter of {scope.service or 'all services'}?", what="--all")

    async def work() -> int:
        settled = 0
        async with scope.open() as stores:
            if message_ids:
                await _check_known(stores, message_ids)
            for messages in stores.values():
                act = messages.dead_letters.redrive if what == "redrive" else messages.dead_letters.discard
                settled += await act(ids=None if everything else list(message_ids))
        return settled

    count = asyncio.run(work())
    typer.echo(f"{count} {_SETTLED[what]}")


async def _check_known(stores: dict[str, Messages], message_ids: Sequence[UUID]) -> None:
    """All or nothing: a slip in one id must not leave the others half done."""
    for message_id in message_ids:
        if not any([await messages.dead_letters.show(message_id) for messages in stores.values()]):
            raise Failure(f"no dead letter {message_id}; nothing was changed (`trenza dead-letters list` shows them)")


def _record(service: str, letter: DeadLetter) -> dict[str, object]:
    record = {"service": service, **letter.model_dump(mode="json")}
    try:
        record["envelope"] = orjson.loads(letter.envelope)
    except orjson.JSONDecodeError:  # an unreadable message is a dead letter for that very reason: show it as it came
        record["envelope"] = letter.envelope
    return record
