"""Runs the scripts of this folder: what is measured of a queue, and how its sender and its worker are made to do it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, Any, Protocol

from bench.peers import environment
from bench.queues.servers import LIMIT_SECONDS, end

__all__ = ["CONCURRENCY", "OURS", "Measured", "Store", "Subject", "latency", "percentiles", "rate", "throughput", "together"]

LATENCIES = 100
WARM_UP = 10
"""As many tasks before these are not counted: the first ones compile statements and open connections, here as anywhere."""
CONCURRENCY = 8
PACE_SECONDS = 0.03
OURS = ("late", "yes", "yes")

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Subject:
    """One queue on one store or broker."""

    title: str
    script: str
    """The end of its script's name, and of the peers the environment it runs in; ``trenza`` is our own."""
    store: str
    """What it keeps its messages in: a name that the `Store` knows."""
    scheme: str = ""
    """How its URL begins, before the socket or the port, where that is up to the queue."""
    kind: str = ""
    """A variant of the script's actions, such as ``events``, ``keyed`` or ``finish``."""
    batches: bool = False
    """Whether it can store several in one transaction."""
    tables: bool = False
    """Whether its tables are made by ``prepare``."""
    promises: tuple[str, ...] = ("late", "no", "no")
    """When it acknowledges, whether an effect in the database happens once, whether there is an order per key."""
    here: bool = False
    """Whether the time from commit to handler is measured within one process too."""
    environment: str = ""
    """The environment it runs in, where it is not called like the script."""


class Store(Protocol):
    """Where subjects keep their messages."""

    def fresh(self, subject: Subject) -> AbstractContextManager[tuple[str, ...]]:
        """The arguments that lead a script to an empty one."""
        ...


@dataclass
class Measured:
    """What the rounds of one subject gave: tasks a second, and milliseconds."""

    stored: list[float] = field(default_factory=list)
    stored_in_batches: list[float] = field(default_factory=list)
    handled: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)
    elsewhere: list[float] = field(default_factory=list)
    here: list[float] = field(default_factory=list)


def throughput(subject: Subject, store: Store, found: Measured, *, tasks: int, batches: tuple[int, ...] = (1,)) -> None:
    """Store tasks while the worker is stopped, then let it go on; only those stored one by one are waited for."""
    for batch in batches if subject.batches else batches[:1]:
        with store.fresh(subject) as where:
            if subject.tables:
                _run(subject, "prepare", where)
            with _worker(subject, where, count=tasks, concurrency=CONCURRENCY) as worker:
                worker.send_signal(signal.SIGSTOP)
                sent = _run(subject, "send", where, count=tasks, concurrency=CONCURRENCY, batch=batch)
                worker.send_signal(signal.SIGCONT)
                answer = _next_line(worker)
            (found.stored if batch == 1 else found.stored_in_batches).append(tasks / sent["seconds"])
            if batch == 1:
                moments = _moments(subject, answer, tasks)
                found.handled.append(tasks / (max(moments) - min(moments) + answer.get("drained", 0.0)))


def together(subject: Subject, store: Store, found: Measured, *, tasks: int) -> None:
    """Send while the worker handles: from the first that is sent until the last is handled, a sender and a worker at once."""
    with store.fresh(subject) as where:
        if subject.tables:
            _run(subject, "prepare", where)
        with _worker(subject, where, count=tasks, concurrency=CONCURRENCY) as worker:
            sent = _run(subject, "send", where, count=tasks, concurrency=CONCURRENCY)
            answer = _next_line(worker)
        moments = _moments(subject, answer, tasks)
        found.together.append(tasks / (max(moments) - sent["began"] + answer.get("drained", 0.0)))


def latency(subject: Subject, store: Store, found: Measured) -> None:
    """Store one task at a time while the worker is idle: from here, and where that is wanted from the worker's own process."""
    count = WARM_UP + LATENCIES
    options: dict[str, Any] = {"count": count, "concurrency": CONCURRENCY}
    with store.fresh(subject) as where:
        if subject.tables:
            _run(subject, "prepare", where)
        if subject.store != "sqlite":
            with _worker(subject, where, **options) as worker:
                stored = _run(subject, "send", where, count=count, pace=PACE_SECONDS)
                found.elsewhere += _waits(stored, _next_line(worker))
        if subject.here:
            with _worker(subject, where, action="both", **options, pace=PACE_SECONDS) as worker:
                stored = _next_line(worker)
                found.here += _waits(stored, _next_line(worker))


def percentiles(waits: list[float]) -> str:
    """Median and p99 of milliseconds."""
    if not waits:
        return "-"
    return f"{median(waits):.1f} / {sorted(waits)[int(len(waits) * 0.99)]:.1f}"


def rate(values: list[float]) -> str:
    """The median of rates."""
    return f"{median(values):.0f}" if values else "-"


def _waits(stored: Any, begun: Any) -> list[float]:
    """Milliseconds from each commit to its handler; none when the handler was faster than the commit's return."""
    moments = dict(begun["begun"])
    return [max(moments[number] - moment, 0.0) * 1000 for number, moment in stored["stored"][WARM_UP:]]


def _moments(subject: Subject, answer: Any, tasks: int) -> list[float]:
    """When each handler began."""
    if answer is None:
        sys.exit(f"{subject.title}: {tasks} tasks were not handled within {LIMIT_SECONDS:g} s")
    if len({number for number, _ in answer["begun"]}) != tasks:
        sys.exit(f"{subject.title}: not every task was handled")
    return [moment for _, moment in answer["begun"]]


def _command(subject: Subject, action: str, where: tuple[str, ...], **options: float) -> list[str]:
    python = sys.executable if subject.script == "trenza" else str(environment(subject.environment or subject.script))
    words = [f"--{name}={value}" for name, value in options.items()]
    action = f"{action}-{subject.kind}" if subject.kind and action != "prepare" else action
    return [python, str(_FOLDER / f"with_{subject.script}.py"), action, *where, *words]


def _run(subject: Subject, action: str, where: tuple[str, ...], **options: float) -> Any:
    """Run a script to its end, and return the last thing that it said."""
    done = subprocess.run(  # noqa: S603 - our own scripts
        _command(subject, action, where, **options), check=False, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )
    if done.returncode:
        sys.exit(f"{subject.title}: {action} failed:\n{done.stderr}")
    return json.loads(lines[-1]) if (lines := done.stdout.splitlines()) else None


@contextmanager
def _worker(subject: Subject, where: tuple[str, ...], action: str = "work", **options: float) -> Iterator[subprocess.Popen[str]]:
    """A worker that is ready."""
    command = _command(subject, action, where, **options)
    with tempfile.TemporaryFile("w+") as errors:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)  # noqa: S603 - our own scripts
        try:
            if _next_line(worker) != "ready":
                errors.seek(0)
                sys.exit(f"{subject.title}: {action} failed:\n{errors.read()}")
            yield worker
        finally:
            end(worker)


def _next_line(process: subprocess.Popen[str]) -> Any:
    """What a script says next: None when it has ended or says nothing for too long."""
    timer = threading.Timer(LIMIT_SECONDS, process.kill)
    timer.start()
    try:
        while (line := _stdout(process).readline()) and line[0] not in '{"':
            pass  # a banner
    finally:
        timer.cancel()
    return json.loads(line) if line else None


def _stdout(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout
