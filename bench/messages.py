"""Tasks and events a second, and the time from commit to handler: ours and those of other queues, durability stated."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench.queues.driving import CONCURRENCY, OURS, Measured, Subject, latency, percentiles, rate, throughput
from bench.queues.servers import Postgres, Valkeys
from bench.tables import Figures

ROUNDS = 2
TASKS = 1000
BATCH = 50

SUBJECTS = (
    Subject("Trenza, tasks", "trenza", "postgres", kind="", batches=True, tables=True, promises=OURS, here=True),
    Subject("Trenza, tasks, finish()", "trenza", "postgres", kind="finish", tables=True, promises=OURS),
    Subject("Trenza, tasks with keys", "trenza", "postgres", kind="keyed", batches=True, tables=True, promises=OURS),
    Subject("Trenza, events", "trenza", "postgres", kind="events", batches=True, tables=True, promises=OURS, here=True),
    Subject(
        "Procrastinate", "procrastinate", "postgres", "postgresql", batches=True, tables=True, promises=("late", "no", "locks")
    ),
    Subject("Taskiq, taskiq-postgres", "taskiq", "postgres", "postgresql"),
    Subject("Dramatiq, dramatiq-pg", "dramatiq", "postgres", "postgresql", tables=True),
    Subject("Celery, SQLAlchemy", "celery", "postgres", "sqla+postgresql+psycopg2"),
    Subject("Trenza, tasks", "trenza", "sqlite", kind="", batches=True, tables=True, promises=OURS, here=True),
    Subject("Trenza, tasks, finish()", "trenza", "sqlite", kind="finish", tables=True, promises=OURS),
    Subject("Trenza, events", "trenza", "sqlite", kind="events", batches=True, tables=True, promises=OURS, here=True),
    *(
        subject
        for fsync in ("always", "everysec")
        for subject in (
            Subject("Taskiq, Redis streams", "taskiq", fsync, "redis"),
            Subject("Dramatiq, Redis", "dramatiq", fsync, "redis"),
            Subject("Celery, Redis", "celery", fsync, "redis"),
        )
    ),
)
STORES = {
    "postgres": "PostgreSQL, fsync each commit",
    "sqlite": "SQLite, fsync each commit",
    "always": "Valkey, fsync each write",
    "everysec": "Valkey, fsync each second",
}


class Stores:
    """The servers, and a fresh database for each round."""

    def __init__(self, stack: ExitStack) -> None:
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-mq-")))
        self._postgres = Postgres(self._folder, stack)
        self._valkeys = Valkeys(self._folder, stack)

    @contextmanager
    def fresh(self, subject: Subject) -> Iterator[tuple[str, ...]]:
        """The argument that names an empty store for this subject."""
        if subject.store == "sqlite":
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                yield (f"--url=sqlite+aiosqlite:///{folder}/NAME.sqlite3",)
        elif subject.store == "postgres":
            with self._postgres.database(subject.scheme or "postgresql+asyncpg") as url:
                yield (f"--url={url}",)
        else:
            with self._valkeys.emptied(subject.store) as url:
                yield (f"--url={url}",)


def _row(subject: Subject, found: Measured, best: float) -> tuple[str, ...]:
    return (
        subject.title,
        STORES[subject.store],
        rate(found.stored),
        rate(found.stored_in_batches),
        rate(found.handled),
        f"{median(found.handled) / best:.2f}x" if subject.store == "postgres" else "-",
        percentiles(found.here),
        percentiles(found.elsewhere),
        *subject.promises,
    )


def run(subjects: tuple[Subject, ...], rounds: int = ROUNDS) -> list[Measured]:
    """Measure subjects in turns, so that a busy moment of the machine hits all of them."""
    found = [Measured() for _ in subjects]
    with ExitStack() as stack:
        stores = Stores(stack)
        for number in range(rounds):
            for subject, its in zip(subjects, found, strict=True):
                print(f"  round {number + 1}: {subject.title}, {STORES[subject.store]} …", file=sys.stderr)
                throughput(subject, stores, its, tasks=TASKS, batches=(1, BATCH))
                latency(subject, stores, its)
                print(
                    f"    {its.handled[-1]:.0f} handled a second; ms {percentiles(its.here)}, {percentiles(its.elsewhere)}",
                    file=sys.stderr,
                )
    return found


def measure() -> Figures:
    """Let every queue store and handle the same tasks."""
    if shutil.which("true") is None:
        sys.exit("this benchmark needs a POSIX system")
    found = run(SUBJECTS)
    peers = [median(its.handled) for subject, its in zip(SUBJECTS, found, strict=True) if subject.scheme.endswith(("ql", "pg2"))]
    best = max(peers)
    return Figures(
        title="Tasks and events",
        how=f"{TASKS} small tasks by {CONCURRENCY} clients, then {CONCURRENCY} handlers at once in one process; median of "
        f"{ROUNDS} interleaved rounds. Stored: by transactions of one and of {BATCH}, while the worker stands still. "
        "Handled: until the last is marked as handled, as far as the queue tells. To best peer: the fastest other "
        "queue on PostgreSQL with the same durability. ms: from commit to the beginning of the handler, median / p99, "
        "one task at a time while all is idle, stored by the worker's own process (here) and by another (elsewhere). "
        "Acks late: a task whose worker dies is handled again. Once: an effect in the database commits together with "
        "the mark that the task is done. Key order: tasks of one key are handled one at a time, in their order.",
        columns=(
            "queue", "store", "stored/s", f"in {BATCH}s", "handled/s", "to best peer", "here ms", "elsewhere ms",
            "acks", "once", "key order",
        ),
        rows=tuple(_row(subject, its, best) for subject, its in zip(SUBJECTS, found, strict=True)),
    )  # fmt: skip
