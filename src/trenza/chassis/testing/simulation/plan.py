"""What one seed decides before a simulation begins: the machines, the work, and the faults."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from trenza.chassis.failpoints import Failpoint
from trenza.chassis.testing.simulation.workload import Conduct, Fact, Job

__all__ = ["FAULT_SECONDS", "Plan", "Send", "Step", "draw_plan"]

FAULT_SECONDS = 14.0
"""Virtual seconds within which work comes in and things go wrong. Afterwards everything is repaired, and has to settle."""
_WORK_SECONDS = 10.0
_KEYS = ("a", "b", None)
_LEASE_SECONDS = 30.0


@dataclass(frozen=True)
class Send:
    """One message of a unit of work, with the options of its sending."""

    message: Fact | Job
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """Something that happens at a virtual second: ``action`` names a method of the world. ``machine`` is a number from 0."""

    at: float
    action: str
    machine: int
    amount: float = 0.0
    point: Failpoint | None = None
    sends: tuple[Send, ...] = ()

    def __str__(self) -> str:
        what = [self.action, f"machine {self.machine}"]
        what += [f"{self.amount:.3f}"] if self.amount else []
        what += [str(self.point)] if self.point else []
        what += [f"{send.message!r} {send.options or ''}" for send in self.sends]
        return f"{self.at:7.3f} {', '.join(what)}"


@dataclass(frozen=True)
class Plan:
    """``machines`` names the services that run on each. ``broker`` is False when every process holds all of them."""

    machines: tuple[tuple[str, ...], ...]
    broker: bool
    trouble: float
    """Probability that the broker mishandles a batch."""
    slow: float
    """Probability that a database statement is delayed."""
    steps: tuple[Step, ...]
    older: int | None = None
    """The machine that runs an earlier release until everything is repaired: one in which billing handles nothing yet."""


def draw_plan(chance: random.Random) -> Plan:
    """A plan; the same for the same state of ``chance``."""
    broker = chance.random() < 0.6  # noqa: PLR2004 - both kinds are worth while, the broker has more to go wrong
    count = chance.choice((1, 2, 2, 3))
    both = ("orders", "billing")
    machines: tuple[tuple[str, ...], ...] = tuple(both for _ in range(count))
    if broker and count > 1:
        machines = (both, *(chance.choice((both, ("orders",), ("billing",))) for _ in range(count - 1)))
    steps = [*_work(chance, count), *_faults(chance, count, broker=broker)]
    return Plan(
        machines=machines,
        broker=broker,
        trouble=chance.choice((0.0, 0.1, 0.3)) if broker else 0.0,
        slow=chance.choice((0.02, 0.2)),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        older=chance.randrange(count) if broker and count > 1 and chance.random() < 0.15 else None,  # noqa: PLR2004 - a rollout
    )


def _work(chance: random.Random, machines: int) -> list[Step]:
    numbers = iter(range(1, 1000))
    steps = []
    for _ in range(chance.randint(1, 4)):
        sends = tuple(_send(chance, next(numbers)) for _ in range(chance.randint(1, 2)))
        action = "abort" if chance.random() < 0.1 else "send"  # noqa: PLR2004
        steps.append(Step(chance.random() * _WORK_SECONDS, action, chance.randrange(machines), sends=sends))
    return steps


def _send(chance: random.Random, number: int) -> Send:
    key, conduct = chance.choice(_KEYS), _conduct(chance)
    if chance.random() < 0.5:  # noqa: PLR2004 - as many events as tasks
        return Send(Fact(number=number, key=key, conduct=conduct))
    options: dict[str, Any] = {}
    if chance.random() < 0.5:  # noqa: PLR2004
        options["unique_key"] = "x"
    if chance.random() < 0.2:  # noqa: PLR2004
        options["delay"] = timedelta(seconds=chance.random() * 6)
    if chance.random() < 0.3:  # noqa: PLR2004
        options["priority"] = chance.choice((-1, 1))
    return Send(Job(number=number, key=key, conduct=conduct), options)


def _conduct(chance: random.Random) -> Conduct:
    """Mostly good and quick; now and then slow, failing, or hopeless."""
    odd = chance.random()
    seconds = chance.choice((0.0, chance.random(), chance.random() * 5))
    common: dict[str, Any] = {"seconds": seconds, "follows_up": chance.random() < 0.4, "tells": chance.random() < 0.1}  # noqa: PLR2004
    for limit, special in (
        (0.12, {"fails": chance.randint(1, 2)}),
        (0.16, {"fails": 99}),
        (0.20, {"rejects": True}),
        (0.25, {"not_before": chance.random() * 12}),
        (0.28, {"stalls": 1}),
        (0.34, {"writes": False}),
        (0.45, {"seconds": 5 + chance.random() * 40}),  # about a lease, and more
    ):
        if odd < limit:
            return Conduct(**(common | special))
    return Conduct(**common)


def _faults(chance: random.Random, machines: int, *, broker: bool) -> list[Step]:
    kinds = ["crash_at"] * 5 + ["crash_after"] * 2 + ["freeze"] * 3 + ["move_clock"] * 3 + ["crash", "restart", "redrive"]
    kinds += ["cancel"] * 4  # often there is no task just then
    kinds += ["outage"] * 2 if broker else []
    return [_fault(chance, chance.choice(kinds), chance.randrange(machines)) for _ in range(chance.randint(0, 5))]


def _fault(chance: random.Random, kind: str, machine: int) -> Step:
    at = chance.random() * FAULT_SECONDS
    match kind:
        case "crash_at":
            return Step(at, kind, machine, point=chance.choice(list(Failpoint)))
        case "crash_after":
            return Step(at, kind, machine, amount=chance.randint(0, 25))
        case "freeze":
            return Step(at, kind, machine, amount=chance.choice((5.0, 1.2 * _LEASE_SECONDS)) * (0.8 + chance.random()))
        case "move_clock":
            return Step(at, kind, machine, amount=chance.choice((-1, 1)) * chance.choice((5.0, 2 * _LEASE_SECONDS)))
        case "outage":
            return Step(at, kind, machine, amount=chance.random() * 8)
    return Step(at, kind, machine)
