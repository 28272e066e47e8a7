"""``trenza objects``: which object store the databases of a deployment belong to."""

from __future__ import annotations

import asyncio

import typer

from trenza.chassis.blobs import open_blobs
from trenza.chassis.clock import SystemClock
from trenza.chassis.runtime.lock import refuse_half_restored
from trenza.chassis.runtime.object_store import adopt_object_store, object_store_place
from trenza.cli.confirming import confirm
from trenza.cli.message_stores import Scope

__all__ = ["Scope", "adopt"]


def adopt(scope: Scope, *, confirmed: bool) -> None:
    """Let the databases belong to the object store of the settings, and say for which that is new."""
    settings = scope.settings()
    refuse_half_restored(settings.data_dir)
    place = object_store_place(settings)

    async def work() -> dict[str, bool]:
        async with scope.databases() as databases:
            if not confirmed:
                question = f"Have all objects been copied into {place}, and has every server with another store been stopped?"
                confirm(question, what="adopt")
            blobs = open_blobs(settings)
            try:
                return await adopt_object_store(databases, blobs, now=SystemClock().now())
            finally:
                await blobs.close()

    for name, new in asyncio.run(work()).items():
        typer.echo(f"{name}: {'belongs now' if new else 'belonged already'} to {place}")
