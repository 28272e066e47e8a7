"""A process within the simulation: its tasks, its clock and its database connections, all of which a crash ends at once."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from trenza.chassis.failpoints import Failpoint

__all__ = ["START", "DriftingClock", "SimulatedProcess", "Stopped", "here", "task_factory"]

START = datetime(2026, 1, 1, 12, 0, 52, tzinfo=UTC)
"""The true time at which every simulation begins."""
_TURNS_TO_END = 200
"""Turns of the event loop that the tasks of a stopped process get to unwind. None of them can write any more."""
_TURNS_TO_CLEAN_UP = 50
_LONGEST_WAIT_SECONDS = 1.0
"""Between two looks of a frozen process at whether it goes on, or has been stopped."""
_TOLERATED_SECONDS = 30.0


class Stopped(BaseException):  # a handler or a loop must not take it for an error of its own
    """The process in which this code ran is no more."""


class Resource(Protocol):
    """What the operating system takes back from a process that ends."""

    def drop(self) -> None:
        """Give it back."""
        ...


class DriftingClock:
    """The clock of one machine: it may be off, and can be moved. True time is `START` plus the event loop's time."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._before = 0.0
        self._moved_at = float("-inf")

    @property
    def offset(self) -> float:
        """Seconds by which it is ahead of true time."""
        return self._offset

    def move(self, offset: float) -> None:
        """Show true time plus ``offset`` seconds from now on."""
        self._before, self._moved_at, self._offset = self._offset, asyncio.get_running_loop().time(), offset

    def now(self) -> datetime:
        """What this machine takes for the time."""
        return START + timedelta(seconds=asyncio.get_running_loop().time() + self._offset)

    def latest(self) -> datetime:
        """The latest time that code which is running now may have read from it, should the clock just have been put back."""
        time = asyncio.get_running_loop().time()
        recent = time - self._moved_at < _TOLERATED_SECONDS
        return START + timedelta(seconds=time + (max(self._before, self._offset) if recent else self._offset))


class SimulatedProcess:
    """One run of a program, from its start until it is stopped. ``clock`` is its machine's and outlives it."""

    def __init__(self, name: str, clock: DriftingClock) -> None:
        self.name = name
        self.clock = clock
        self.alive = True
        self.statements_left: int | None = None
        """After so many further database statements it stops; None: it does not."""
        self.doomed_at: Failpoint | None = None
        """The point at which it stops."""
        self.on_stop: Callable[[str], None] | None = None
        self._frozen_until = 0.0
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order of their beginning, which a set would not keep
        self._resources: dict[Resource, None] = {}
        self._context = contextvars.Context()
        self._context.run(_here.set, self)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something as part of this process."""
        return asyncio.get_running_loop().create_task(coroutine, context=self._context.copy())

    def began(self, task: asyncio.Task[Any]) -> None:
        """Remember a task that this process has begun."""
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def own(self, resource: Resource) -> None:
        """Take this back when the process stops."""
        self._resources[resource] = None

    def disown(self, resource: Resource) -> None:
        """It was given back properly."""
        self._resources.pop(resource, None)

    def freeze(self, seconds: float) -> None:
        """Let it neither read nor write for so long, as if the machine swapped or the process had been suspended."""
        self._frozen_until = max(self._frozen_until, asyncio.get_running_loop().time() + seconds)

    async def thawed(self) -> None:
        """Wait while it is frozen."""
        while (left := self._frozen_until - asyncio.get_running_loop().time()) > 0 and self.alive:  # noqa: ASYNC110 - to look seldom is cheaper than to be told
            await asyncio.sleep(min(left, _LONGEST_WAIT_SECONDS))  # it may be thawed before

    def thaw(self) -> None:
        """Let the next freeze be the next one."""
        self._frozen_until = 0.0

    def reach(self, point: Failpoint) -> None:
        """Come to a named point, perhaps never to leave it."""
        if self.doomed_at is point:
            self.stop(f"at {point}")
        self.insist()

    def insist(self) -> None:
        """Raise `Stopped` once the process is no more: nothing that its remains still do may take effect."""
        if not self.alive:
            raise Stopped(self.name)

    def stop(self, why: str) -> None:
        """End it at once: open transactions are rolled back, and not one of its tasks does anything more."""
        if not self.alive:
            return
        self.alive = False
        for resource in list(self._resources):
            resource.drop()
        self._resources.clear()
        if self.on_stop is not None:
            self.on_stop(why)

    async def buried(self) -> None:
        """Wait until the remains of its tasks have unwound. Raises `RuntimeError` when one of them will not.

        Those in the midst of a statement come to know by themselves; SQLAlchemy loses a connection when it is cancelled just
        while that is being opened. The others are cancelled.
        """
        await asyncio.sleep(_LONGEST_WAIT_SECONDS + 0.25)
        for turn in range(_TURNS_TO_END):
            if not self._tasks:
                return
            if turn % _TURNS_TO_CLEAN_UP == 0:  # seldom: what they begin in order to clean up may end by itself
                for task in list(self._tasks):
                    task.cancel()
            await asyncio.sleep(0)
        raise RuntimeError(f"tasks of {self.name} outlive it: {[task.get_name() for task in self._tasks]}")


_here: ContextVar[SimulatedProcess | None] = ContextVar("trenza_simulated_process", default=None)


def here() -> SimulatedProcess | None:
    """The process that the running code belongs to; None for the world around."""
    return _here.get()


def task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context | None = None, **options: Any
) -> asyncio.Task[Any]:
    """Makes tasks that belong to the process in whose context they run. For `asyncio.AbstractEventLoop.set_task_factory`."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, context=context, **options)
    process = here() if context is None else context.get(_here)
    if process is not None:
        process.began(task)
    return task
