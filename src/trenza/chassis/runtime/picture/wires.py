"""What the picture connects: wires, each of which joins those who send with all who receive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trenza.chassis.runtime.deployment import Process
from trenza.chassis.runtime.plan import Plan

__all__ = ["CLIENTS", "Kind", "Tap", "Wire", "in_drawing_order", "wires_of"]

Kind = Literal["request", "remote", "local", "event"]
CLIENTS = ""
"""Stands for the clients where a process is named."""


@dataclass(frozen=True)
class Tap:
    """Where a wire ends: at a service of a process, or at the process itself (no ``service``)."""

    process: str
    service: str = ""


@dataclass(frozen=True)
class Wire:
    """One wire. Whoever sends on it reaches all who receive from it, or one of them where they are replicas of each other."""

    kind: Kind
    senders: tuple[Tap, ...]
    receivers: tuple[Tap, ...]


def in_drawing_order(plan: Plan) -> tuple[str, ...]:
    """The names of the processes from the door inwards: gateways, then who calls others, then who is called."""
    return tuple(sorted(plan.deployment.processes, key=lambda name: plan.tiers[name]))


def wires_of(plan: Plan) -> tuple[Wire, ...]:
    """All wires of a deployment, in an order that depends on the deployment alone."""
    return (*_requests(plan), *_remote_calls(plan), *_local_calls(plan), *_events(plan))


def _requests(plan: Plan) -> Iterator[Wire]:
    """From the clients to the gateway, from the gateway to who hosts what it does not."""
    processes = {name: plan.deployment.processes[name] for name in in_drawing_order(plan)}
    gateways = [name for name, process in processes.items() if process.gateway]
    answering = [name for name, process in processes.items() if process.url and process.services]
    doors = gateways or answering or list(processes)[:1]
    yield Wire("request", (Tap(CLIENTS),), tuple(Tap(name) for name in doors))
    for name in gateways:
        own = set(processes[name].services)
        behind = tuple(Tap(other) for other in answering if other not in gateways and set(processes[other].services) - own)
        if behind:
            yield Wire("request", (Tap(name),), behind)


def _remote_calls(plan: Plan) -> Iterator[Wire]:
    for service in plan.services:
        callers = tuple(Tap(c.process, c.caller) for c in plan.calls if c.callee == service.name and not c.local)
        if callers:
            yield Wire(
                "remote", callers, tuple(Tap(name, service.name) for name in _hosts(plan, service.name) if _has_url(plan, name))
            )


def _local_calls(plan: Plan) -> Iterator[Wire]:
    found = dict.fromkeys((call.process, call.callee) for call in plan.calls if call.local)
    for process, callee in found:
        callers = [call.caller for call in plan.calls if call.local and (call.process, call.callee) == (process, callee)]
        yield Wire("local", tuple(Tap(process, caller) for caller in callers), (Tap(process, callee),))


def _events(plan: Plan) -> Iterator[Wire]:
    """From every process that hosts the publisher to those that handle the messages of the consumers."""
    for service in plan.services:
        consumers = [flow.consumer for flow in plan.events if flow.publisher == service.name]
        receivers = tuple(
            Tap(name, consumer)
            for consumer in consumers
            for name in _hosts(plan, consumer)
            if plan.deployment.processes[name].workers
        )
        if receivers:
            yield Wire("event", tuple(Tap(name, service.name) for name in _hosts(plan, service.name)), receivers)


def _hosts(plan: Plan, service: str) -> list[str]:
    return [name for name in in_drawing_order(plan) if service in plan.deployment.processes[name].services]


def _has_url(plan: Plan, name: str) -> bool:
    process: Process = plan.deployment.processes[name]
    return process.url is not None
