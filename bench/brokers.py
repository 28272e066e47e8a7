"""Events from one process to another over a broker: ours and those of other libraries on the same broker, durability stated."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from uuid import uuid4

from bench.queues.driving import CONCURRENCY, OURS, Measured, Subject, latency, percentiles, rate, throughput, together
from bench.queues.servers import Postgres
from bench.tables import Figures
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from trenza.chassis.testing.brokers import Broker, NotInstalled, broker_class, start_broker

ROUNDS = 3
TASKS = 2000
BY_HAND = ("late", "by hand", "no")

SUBJECTS = (
    Subject("Trenza", "trenza", "rabbitmq", kind="events", tables=True, promises=OURS),
    Subject("Trenza, finish()", "trenza", "rabbitmq", kind="events-finish", tables=True, promises=OURS),
    Subject("FastStream", "faststream", "rabbitmq"),
    Subject("FastStream, outbox and ids by hand", "faststream", "rabbitmq", kind="once", tables=True, promises=BY_HAND),
    Subject("Taskiq", "taskiq", "rabbitmq", environment="taskiq-brokers"),
    Subject("Dramatiq", "dramatiq", "rabbitmq", environment="dramatiq-rabbitmq"),
    Subject("Celery", "celery", "rabbitmq"),
    Subject("Trenza", "trenza", "noida", kind="events", tables=True, promises=OURS),
    Subject("Trenza, finish()", "trenza", "noida", kind="events-finish", tables=True, promises=OURS),
    Subject("FastStream", "faststream", "noida"),
    Subject("FastStream, in batches", "faststream", "noida", kind="batches"),
    Subject("FastStream, outbox and ids by hand", "faststream", "noida", kind="once", tables=True, promises=BY_HAND),
    Subject("Taskiq", "taskiq", "noida", environment="taskiq-brokers", promises=("each 5 s", "no", "no")),
)


class Brokers:
    """The brokers, each started when it is first asked for, and a PostgreSQL for those who want one."""

    def __init__(self, stack: ExitStack) -> None:
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-br-")))
        self._postgres = Postgres(self._folder, stack)
        self._stack = stack
        self._started: dict[str, Broker] = {}

    def start(self, name: str) -> Broker:
        """One that runs. Raises `NotInstalled`."""
        if name not in self._started:
            (self._folder / name).mkdir()
            broker = start_broker(name, self._folder / name)
            self._stack.callback(broker.close)
            os.environ.update(broker.environment())
            self._started[name] = broker
        return self._started[name]

    @contextmanager
    def fresh(self, subject: Subject) -> Iterator[tuple[str, ...]]:
        """The arguments that name the broker, a queue that nobody has used, and an empty database for whoever wants one."""
        url, _, _ = self.start(subject.store).url("bench").partition("?")
        if subject.script == "faststream":
            url = url.removeprefix("kafka://")
        queue = f"bench{uuid4().hex[:8]}"
        if subject.store == "noida" and subject.script != "trenza":
            _make_topic(url.removeprefix("kafka://"), queue)
        where = (f"--url={url}", f"--queue={queue}")
        if not subject.tables:
            yield where
            return
        scheme = "postgresql+asyncpg" if subject.script == "trenza" else "postgresql"
        with self._postgres.database(scheme) as database:
            yield (*where, f"--database={database}")


def _make_topic(servers: str, name: str) -> None:
    """With as many partitions as ours has: a consumer that comes before its topic would look for it minutes later."""
    client = AdminClient({"bootstrap.servers": servers})
    (made,) = client.create_topics([NewTopic(name, 12, 1)]).values()
    made.result(10)


def _row(subject: Subject, found: Measured, peers: dict[str, float]) -> tuple[str, ...]:
    def ratio(peer: str) -> str:
        return f"{median(found.together) / peers[peer]:.2f}x" if peer in peers else "-"

    return (
        subject.title,
        broker_class(subject.store).name,
        rate(found.stored),
        rate(found.handled),
        rate(found.together),
        ratio("no"),
        ratio("by hand"),
        percentiles(found.elsewhere),
        *subject.promises,
    )


def run(subjects: tuple[Subject, ...], rounds: int = ROUNDS) -> dict[Subject, Measured]:
    """Measure subjects in turns, so that a busy moment of the machine hits all of them; without those whose broker is missing."""
    found: defaultdict[Subject, Measured] = defaultdict(Measured)
    with ExitStack() as stack:
        brokers = Brokers(stack)
        for number in range(rounds):
            for subject in subjects:
                try:
                    brokers.start(subject.store)
                except NotInstalled as error:
                    print(f"  not measured: {subject.title}: {error}", file=sys.stderr)
                    continue
                its = found[subject]
                print(f"  round {number + 1}: {subject.title}, {broker_class(subject.store).name} …", file=sys.stderr)
                throughput(subject, brokers, its, tasks=TASKS)
                together(subject, brokers, its, tasks=TASKS)
                latency(subject, brokers, its)
                said = f"{its.stored[-1]:.0f} sent, {its.handled[-1]:.0f} handled, {its.together[-1]:.0f} together"
                print(f"    {said} a second; ms {percentiles(its.elsewhere)}", file=sys.stderr)
    return found


def measure() -> Figures:
    """Let every library carry the same events."""
    found = run(SUBJECTS)
    best: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for subject, its in found.items():
        acknowledges, once, _ = subject.promises
        if subject.script != "trenza" and acknowledges == "late":
            best[subject.store][once] = max(best[subject.store].get(once, 0.0), median(its.together))
    return Figures(
        title="Events over a broker",
        how=f"{TASKS} small events by {CONCURRENCY} clients in one process, handled in another; median of {ROUNDS} interleaved "
        "rounds. Every message is persistent: quorum queues and publisher confirms on RabbitMQ, acks=all on Kafka. Sent: until "
        "the broker has confirmed all, each sent on its own, while the receiver stands still; ours are committed with fsync to "
        "the outbox in PostgreSQL before. Handled: what has piled up in the broker, until the last is done as far as the library "
        "tells. Together: from the first sent to the last handled while both processes run. To peer, to by hand: by that, to the "
        "best peer that acknowledges late, and to the one that has an outbox and ids by hand. ms: from the "
        "commit (of a peer: the confirmation) to the beginning of the handler, median / p99, one at a time while all is idle. "
        "Acks late: what a receiver held when it died is handled again. Once: an effect in the database happens once, whatever "
        "is delivered twice; *by hand* is what a user adds to a library: an outbox table with a loop that publishes from it, and "
        "a table of ids in the handler's transaction, both in the same PostgreSQL. Key order: events of one key are handled one "
        "at a time, in their order.",
        columns=(
            "library", "broker", "sent/s", "handled/s", "together/s", "to peer", "to by hand", "idle ms",
            "acks", "once", "key order",
        ),
        rows=tuple(_row(subject, its, best[subject.store]) for subject, its in found.items()),
    )  # fmt: skip
