"""The pool of worker processes: starts them when needed, hands each one job at a time, and replaces those that die."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from trenza.chassis.telemetry.logs import get_logger
from trenza.services.images.workers.answers import Refused, Rendered, Unsuited
from trenza.services.images.workers.worker import Confinement, Worker, WorkerDied, WorkerUnavailable

__all__ = ["WorkerPool"]

_log = get_logger(__name__)


class WorkerPool:
    """At most ``size`` workers. Jobs beyond wait in the order in which they came.

    A worker ends after ``jobs_per_worker`` jobs, after ``idle_seconds`` without one, and whenever a job on it failed, timed out,
    reached the memory limit, was cancelled, or made it give up.
    """

    def __init__(self, confinement: Confinement, *, size: int, jobs_per_worker: int, idle_seconds: float) -> None:
        self._confinement = confinement
        self._slots = asyncio.Semaphore(size)
        self._jobs_per_worker = jobs_per_worker
        self._idle_seconds = idle_seconds
        self._workers: set[Worker] = set()
        self._idle: list[tuple[Worker, asyncio.TimerHandle]] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self._proven = False
        self._told_slow = False

    @property
    def alive(self) -> int:
        """How many worker processes run."""
        return sum(worker.alive for worker in self._workers)

    @property
    def busy(self) -> int:
        """How many of them have a job."""
        return sum(worker.busy for worker in self._workers)

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The ids of the worker processes that run."""
        return tuple(worker.process_id for worker in self._workers if worker.alive)

    async def warm(self) -> None:
        """Start a worker unless one runs; raises `WorkerUnavailable` when none can be started."""
        if not self.alive:
            async with self._slots, self._borrowed():
                pass

    async def check(self) -> None:
        """Raise `WorkerUnavailable` when workers cannot be started, found out by starting one unless the last start went well."""
        self._refuse_when_closed()
        if not self._proven:
            await self.warm()

    async def run(self, job: bytes, *, timeout: float) -> Rendered | Unsuited | Refused:
        """Have a job done.

        ``timeout`` is in seconds from when a worker has the job. Raises `WorkerDied`, TimeoutError, or `WorkerUnavailable` when
        no worker could be started, it could not work, or the pool is closed. Cancelling the call kills the worker at once.
        """
        async with self._slots, self._borrowed() as worker:
            answer = await worker.ask(job, timeout=timeout)
            if isinstance(answer, Unsuited) or (isinstance(answer, Refused) and answer.reason == "memory"):
                worker.kill()
            return answer

    async def close(self) -> None:
        """Kill every worker; jobs that they had raise `WorkerUnavailable`."""
        self._closed = True
        for _, timer in self._idle:
            timer.cancel()
        self._idle.clear()
        for worker in tuple(self._workers):
            self._end(worker)
        await asyncio.gather(*self._ending, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Worker]:
        """A worker for one job."""
        worker = self._idle_worker() or await self._new_worker()
        try:
            self._proven = False
            await worker.ready()
            self._proven = True
            self._tell_slow(worker.slow)
            yield worker
        except WorkerDied as death:
            self._end(worker)
            self._refuse_when_closed()
            _log.warning("image worker died", process_id=worker.process_id, cause=str(death), said=worker.last_words)
            raise
        except BaseException:
            self._end(worker)
            raise
        self._give_back(worker)

    def _tell_slow(self, reason: str) -> None:
        """Log once that the fast path does not work here."""
        if reason and not self._told_slow:
            self._told_slow = True
            _log.warning("JPEGs are rendered without the fast path", reason=reason)

    def _idle_worker(self) -> Worker | None:
        """The worker that was used last, so that the others may retire."""
        while self._idle:
            worker, timer = self._idle.pop()
            timer.cancel()
            if worker.alive:
                return worker
            self._end(worker)  # killed from outside while it had nothing to do: no image is to blame
        return None

    async def _new_worker(self) -> Worker:
        self._refuse_when_closed()
        worker = await Worker.start(self._confinement)
        self._workers.add(worker)
        if self._closed:
            self._end(worker)
        self._refuse_when_closed()
        return worker

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise WorkerUnavailable("the image workers were stopped")

    def _give_back(self, worker: Worker) -> None:
        if self._closed or not worker.alive or worker.jobs >= self._jobs_per_worker:
            self._end(worker)
            return
        timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._retire, worker)
        self._idle.append((worker, timer))

    def _retire(self, worker: Worker) -> None:
        self._idle = [(other, timer) for other, timer in self._idle if other is not worker]
        self._end(worker)

    def _end(self, worker: Worker) -> None:
        """Kill a worker now; its remains are collected in the background."""
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        worker.kill()
        task = asyncio.get_running_loop().create_task(worker.collect())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
