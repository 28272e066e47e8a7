"""The object store that a process' databases belong to: noted at the first start; with another one nothing starts."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Integer, MetaData, Table, Uuid, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from trenza.chassis.blobs import Blobs, BlobsUnavailable
from trenza.chassis.data import Database, DatabaseUnavailable
from trenza.chassis.data.types import UtcDateTime
from trenza.chassis.settings import CannotStart, PlatformSettings
from trenza.chassis.telemetry.logs import get_logger

__all__ = [
    "ForeignObjectStore",
    "SilentObjectStore",
    "adopt_object_store",
    "belong_or_refuse",
    "object_store_place",
    "refuse_foreign",
]

_log = get_logger(__name__)

ANSWER_SECONDS = 10.0
"""How long a start waits for the store; a health check has two seconds, but this is asked once."""

_notes = Table(
    "object_store",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("identity", Uuid, nullable=False),
    Column("noted_at", UtcDateTime, nullable=False),
)
_noted = select(_notes.c.identity)


class ForeignObjectStore(CannotStart):
    """The objects of some services' records lie in another store than the one that the settings name."""

    def __init__(self, services: Collection[str], settings: PlatformSettings) -> None:
        several = len(services) > 1
        own = f"the databases of {', '.join(services)} belong" if several else f"the database of {', '.join(services)} belongs"
        super().__init__(
            f"{own} to another object store than {object_store_place(settings)}: set TRENZA_BLOBS_URL, or for a local folder "
            "--data-dir, to the one that holds the objects (a local folder serves one server; several share S3); or, once all "
            "objects have been copied into this one, run `trenza objects adopt`"
        )


class SilentObjectStore(CannotStart):
    """The store does not say which it is, and some database does not know yet to which it belongs."""

    def __init__(self, cause: BaseException, settings: PlatformSettings) -> None:
        said = str(cause) or f"no answer within {ANSWER_SECONDS:g} s"
        super().__init__(
            f"the object store {object_store_place(settings)} cannot be asked which it is ({said}), as the first start of a "
            "database must: check TRENZA_BLOBS_URL and AWS_*, or the permissions of the data folder, and start again"
        )


def object_store_place(settings: PlatformSettings) -> str:
    """Where the settings say that the objects are: a URL or a folder."""
    return settings.blobs_url or str(settings.data_dir / "blobs")


async def belong_or_refuse(databases: Mapping[str, Database], blobs: Blobs, settings: PlatformSettings, *, now: datetime) -> None:
    """Raise `ForeignObjectStore` unless every database belongs to this store; those that belong to none yet do so from now on.

    A store that does not answer serves nothing until it has shown that it is the right one. Where that is not known yet, since
    some database belongs to none, this raises `SilentObjectStore`.
    """
    if not databases:
        return
    notes = await _notes_in(databases)
    known = {identity for identity in notes.values() if identity is not None}
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            # A store without an identity is left as it is where another is asked for.
            present = await (blobs.identity() if known else blobs.make_identity())
    except (TimeoutError, BlobsUnavailable) as error:
        if len(known) != 1 or None in notes.values():
            raise SilentObjectStore(error, settings) from error
        blobs.expect(known.pop())
        _log.warning("the object store does not answer: nothing is read or stored before it does", reason=str(error))
        return
    foreign = sorted(name for name, identity in notes.items() if identity not in (None, present))
    if foreign:
        raise ForeignObjectStore(foreign, settings)
    if present is not None:
        # Always in this order, one after the other: of two first starts with two stores, one gets all databases.
        for name in sorted(name for name, identity in notes.items() if identity is None):
            if await _note(databases[name], present, now) != present:
                raise ForeignObjectStore([name], settings)


async def refuse_foreign(databases: Mapping[str, Database], blobs: Blobs, settings: PlatformSettings) -> None:
    """Raise `ForeignObjectStore` as a start would. Writes nothing, and passes over databases that cannot tell."""
    present = await blobs.identity()
    foreign = []
    for name, database in sorted(databases.items()):
        with suppress(DatabaseUnavailable, DBAPIError):  # away, or not migrated
            if await _note_in(database) not in (None, present):
                foreign.append(name)
    if foreign:
        raise ForeignObjectStore(foreign, settings)


async def adopt_object_store(databases: Mapping[str, Database], blobs: Blobs, *, now: datetime) -> dict[str, bool]:
    """Let all databases belong to this store from now on; for each whether that is new. Raises `BlobsUnavailable`."""
    notes = await _notes_in(databases)
    present = await blobs.make_identity()
    for name in sorted(databases):
        if notes[name] != present:
            await _note(databases[name], present, now, instead=True)
    return {name: identity != present for name, identity in notes.items()}


async def _notes_in(databases: Mapping[str, Database]) -> dict[str, UUID | None]:
    found = await asyncio.gather(*(_note_in(database) for database in databases.values()))
    return dict(zip(databases, found, strict=True))


async def _note_in(database: Database) -> UUID | None:
    async with database.read() as connection:
        identity: UUID | None = await connection.scalar(_noted)
        return identity


async def _note(database: Database, identity: UUID, now: datetime, *, instead: bool = False) -> UUID:
    """Note an identity where there is none, or ``instead`` of what there is; returns the one that stands."""
    insert: Any = (sqlite.insert if database.is_sqlite else postgresql.insert)(_notes).values(
        id=1, identity=identity, noted_at=now
    )
    if instead:
        changed = {"identity": identity, "noted_at": now}
        insert = insert.on_conflict_do_update(index_elements=[_notes.c.id], set_=changed)
    else:
        insert = insert.on_conflict_do_nothing()
    async with database.work() as work:
        await work.execute(insert)
        stands: UUID = (await work.execute(_noted)).scalar_one()
        return stands
