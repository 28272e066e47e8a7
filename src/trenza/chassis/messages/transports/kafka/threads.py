"""Calls that wait in a thread which nobody waits for when the process ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

__all__ = ["in_thread"]


async def in_thread(call: Callable[[], None]) -> None:
    """Make a call that blocks, and raise what it raises. Cancelled, it goes on unheard.

    `asyncio.to_thread` would hold the end of the loop up, and that of the interpreter, for as long as Kafka does not answer.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def end(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        failure: Exception | None = None
        try:
            call()
        except Exception as error:  # noqa: BLE001 - raised again, in the caller
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(end, failure)

    Thread(target=run, name="kafka call", daemon=True).start()
    await done
