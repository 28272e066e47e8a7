"""Services running in a test: the real assembly over a fresh folder, with doubles for the services that are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx
import sqlalchemy as sa

from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.context import current_context
from trenza.chassis.contract import Contract, Event, Task
from trenza.chassis.identifiers import uuid7
from trenza.chassis.messages import DeadLetter, TaskState
from trenza.chassis.messages.envelope import Envelope
from trenza.chassis.messages.tables import DELAYED, RUNNING, WAITING, in_state, inbox, outbox
from trenza.chassis.messages.transports.base import Outgoing
from trenza.chassis.runtime.application import assemble
from trenza.chassis.runtime.signing import signing_key
from trenza.chassis.service import Service
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.clock import ManualClock

if TYPE_CHECKING:
    from fastapi import FastAPI

    from trenza.chassis.clock import Clock
    from trenza.chassis.data import Database
    from trenza.chassis.runtime.assembly import Assembly

__all__ = ["MessagesFailed", "RunningServices", "run_services", "stand_in"]

T = TypeVar("T")
C = TypeVar("C", bound=Contract)

SECONDS: Final = 40.0
"""How long a test waits for what takes milliseconds, before it fails rather than hangs."""
_LOOK_SECONDS: Final = 0.005


class MessagesFailed(AssertionError):
    """Handlers gave messages up; the message of the error says which, and why."""

    def __init__(self, letters: tuple[DeadLetter, ...]) -> None:
        super().__init__("\n".join(f"{letter.type} at {letter.consumer}: {letter.error or letter.reason}" for letter in letters))
        self.letters = letters


def stand_in(double: Contract) -> Service:
    """A double of another service's contract, as a service that can run beside the one under test."""
    contract = next(kind for kind in type(double).__mro__ if Contract in kind.__bases__)
    return Service(contract=contract, implementation=lambda _resources: double)


@asynccontextmanager
async def run_services(
    *services: Service, data_dir: Path, database_url: str | None = None, clock: Clock | None = None
) -> AsyncIterator[RunningServices]:
    """Start services as `trenza up` does, without a socket: migrations, lifespans, workers and all.

    A second start on the same ``data_dir`` goes on where the first ended. ``database_url`` names a PostgreSQL; None is SQLite.
    With a `ManualClock` nothing that is delayed happens before `RunningServices.advance`.
    """
    settings = PlatformSettings(data_dir=data_dir, database_url=database_url, public_url="http://test")
    app = assemble(services, settings, clock=clock, alone=[service.name for service in services])
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", timeout=SECONDS) as http,
    ):
        yield RunningServices(app, http)


class RunningServices:
    """Services that run, and what a test does with them. Made by `run_services`."""

    def __init__(self, app: FastAPI, http: httpx.AsyncClient) -> None:
        self.app = app
        self.http = http
        """Asks without a token."""
        self._assembly: Assembly = app.state.assembly

    def token(self, *scopes: str, subject: str = "test") -> str:
        """A token with these scopes."""
        return issue_token(signing_key(self._assembly.settings), subject, scopes, timedelta(hours=1))

    async def ask(self, method: str, path: str, *scopes: str, subject: str = "test", **options: Any) -> httpx.Response:
        """A request by a caller with these scopes; without any it carries no token. ``options`` are those of httpx."""
        headers = dict(options.pop("headers", None) or {})
        if scopes:
            headers["Authorization"] = f"Bearer {self.token(*scopes, subject=subject)}"
        return await self.http.request(method, path, headers=headers, **options)

    def call(self, contract: type[C]) -> C:
        """The binding of a contract, as other services of the process have it."""
        binding: Any = self._assembly.bindings[contract]
        return binding  # type: ignore[no-any-return]  # the mapping's key is the type of its value

    def implementation(self, kind: type[T]) -> T:
        """The running implementation, by its class."""
        found: T = self._assembly.implementations[kind]
        return found

    async def publish(self, event: Event) -> None:
        """Deliver an event as the service that announces it would, to all that react to it. `settled` waits for them."""
        service = event.message_type.partition(".")[0]
        envelope = Envelope.wrap(
            event,
            message_id=uuid7(),
            service=service,
            time=self._assembly.clock.now(),
            deliver_by=None,
            context=current_context(),
        )
        message = Outgoing(envelope.id, envelope.type, envelope.ordering_key, envelope.to_json())
        await self._assembly.transport.publish([message])

    async def run(self, task: Task) -> TaskState:
        """Give a task to the service that handles it and wait for its end; what a schedule fires is run this way as well."""
        owner = next(
            service.name for service in self._assembly.services if type(task) in {handler.message for handler in service.handlers}
        )
        async with self._assembly.databases[owner].work() as work:
            task_id = await work.enqueue(task)
        state = await self._assembly.messages[owner].wait(task_id, timeout=SECONDS)
        if state is None:
            raise LookupError(f"the task {task.message_type} is not known to {owner}")
        return state

    async def settled(self, *, failures_expected: bool = False) -> tuple[DeadLetter, ...]:
        """Wait until no message is on its way or due; what is delayed is not waited for. Returns the dead letters.

        Raises `MessagesFailed` when there are any, unless they are expected, and `TimeoutError` when it takes too long.
        """
        async with asyncio.timeout(SECONDS):
            before = await self._snapshot()
            while True:
                # The tables are read one after the other. Two looks with nothing to do and nothing new are proof; one is not.
                now = await self._snapshot()
                if before == now and not any(unfinished for _newest, unfinished in now):
                    break
                before = now
                await asyncio.sleep(_LOOK_SECONDS)
        letters = [letter for m in self._assembly.messages.values() for letter in (await m.dead_letters.list()).letters]
        if letters and not failures_expected:
            raise MessagesFailed(tuple(letters))
        return tuple(letters)

    async def advance(self, seconds: float) -> None:
        """Move the `ManualClock` on and let what has become due begin: delays, and pauses between attempts.

        Schedules fire as well, but `settled` does not wait for that; `run` does at once what one would fire.
        """
        clock = self._assembly.clock
        if not isinstance(clock, ManualClock):
            raise TypeError("the clock is the real one; start with run_services(…, clock=ManualClock())")
        clock.advance(seconds)
        for messages in self._assembly.messages.values():
            messages.wake()

    async def _snapshot(self) -> list[tuple[int, int]]:
        """Of each box: its newest message, and how many are not finished. Outboxes first: that is the way of a message."""
        databases = self._assembly.databases.values()
        return [await self._look(d, box) for box in (outbox, inbox) for d in databases]

    async def _look(self, database: Database, box: sa.Table) -> tuple[int, int]:
        begun = in_state(box.c.state, WAITING, RUNNING)
        if box is inbox:
            begun |= in_state(box.c.state, DELAYED) & (inbox.c.due_at <= self._assembly.clock.now())
        unfinished = sa.func.count(sa.case((begun, 1)))
        async with database.read() as connection:
            newest, count = (await connection.execute(sa.select(sa.func.max(box.c.position), unfinished))).one()
        return newest or 0, count
