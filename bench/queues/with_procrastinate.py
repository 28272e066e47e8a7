"""Procrastinate: PostgreSQL, asyncio."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Sequence

import procrastinate
from protocol import NOTE, Tally, arguments, say, send_async


async def _main(options: Namespace) -> None:
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=options.url, min_size=options.concurrency, max_size=20)
    )
    tally = Tally(options.count)

    @app.task(name="note")
    async def note(number: int, note: str) -> None:  # noqa: ARG001 - as large as everybody's
        tally(number)

    async def send(numbers: Sequence[int]) -> None:
        if len(numbers) == 1:
            await note.defer_async(number=numbers[0], note=NOTE)
        else:
            await note.batch_defer_async(*({"number": number, "note": NOTE} for number in numbers))

    async with app.open_async():
        match options.action:
            case "prepare":
                await app.schema_manager.apply_schema_async()
            case "send":
                await send_async(options, send)
            case "work":
                worker = asyncio.create_task(app.run_worker_async(concurrency=options.concurrency, install_signal_handlers=False))
                await asyncio.sleep(1)
                say("ready")
                await tally.wait()
                say({"begun": tally.begun})
                worker.cancel()
                await asyncio.wait([worker], timeout=10)


asyncio.run(_main(arguments()))
