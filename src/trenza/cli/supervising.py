"""``trenza up`` for a deployment of several processes: all of them on this machine, with one log."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import typer

from trenza.chassis.auth.roles import RoleBook
from trenza.chassis.runtime.deployment import DeploymentError, Process
from trenza.chassis.runtime.lock import refuse_half_restored
from trenza.chassis.runtime.plan import Plan
from trenza.chassis.runtime.server import AddressUnusable, bind
from trenza.chassis.runtime.supervision import Member, Supervisor
from trenza.cli import STARTED
from trenza.cli.migrating import migrate_all
from trenza.cli.planning import checked_plan
from trenza.cli.serving import print_lines, token_command

__all__ = ["supervise"]

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")


def supervise(deployment: str, *, data_dir: Path | None) -> int:
    """Keep all processes of a deployment running until asked to stop; returns the exit code.

    Raises `DeploymentError` with everything that is missing before anything is started.
    """
    plan = checked_plan(deployment, data_dir)
    refuse_half_restored(plan.settings.data_dir)
    _refuse_taken_addresses(plan)
    if plan.settings.environment != "production":
        migrate_all(data_dir=data_dir, deployment=deployment, quiet=True)
    members = [
        Member(
            label=name if process.replicas == 1 else f"{name}.{replica}",
            command=_command(plan, name, replica, data_dir),
            tier=plan.tiers[name],
        )
        for name, process in plan.deployment.processes.items()
        for replica in range(process.replicas)
    ]
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        os.environ["FORCE_COLOR"] = "1"  # for the members, whose output is a pipe
    log = _Log([member.label for member in members])
    supervisor = Supervisor(members, line=log.line, say=log.say, up=lambda: _announce(plan))
    return asyncio.run(supervisor.run())


def _refuse_taken_addresses(plan: Plan) -> None:
    """Raise `DeploymentError` with every address at which something listens already.

    Gateways share theirs among replicas, so that none of them would notice those of another deployment.
    """
    problems = []
    for name, process in plan.deployment.processes.items():
        for replica in range(1 if process.gateway else process.replicas):
            host, port = process.address(replica)
            try:
                bind(host, port).close()
            except AddressUnusable as error:
                problems.append(f"{name}: {error}")
    if problems:
        raise DeploymentError(f"deployment {plan.deployment.name!r} cannot start", tuple(problems))


def _command(plan: Plan, name: str, replica: int, data_dir: Path | None) -> list[str]:
    """How a member is started: as a person would, but told who waits for it."""
    words = [sys.executable, "-m", "trenza", "serve", name, "--deployment", plan.deployment.source, "--supervised"]
    if plan.deployment.processes[name].replicas > 1:
        words += ["--replica", str(replica)]
    if data_dir is not None:
        words += ["--data-dir", str(data_dir)]
    return words


class _Log:
    """One log of all members: each line begins with its member's label, in the member's colour."""

    def __init__(self, labels: list[str]) -> None:
        self._width = max(len("trenza"), *(len(label) for label in labels))
        self._colours = {label: _COLOURS[index % len(_COLOURS)] for index, label in enumerate(labels)}

    def line(self, label: str, text: str) -> None:
        """A line that a member has written."""
        name = typer.style(f"{label:<{self._width}} │", fg=self._colours.get(label))
        typer.echo(f"{name} {text}", err=True)

    def say(self, label: str, text: str) -> None:
        """What the supervisor itself has to tell."""
        self.line("trenza", f"{label} {text}".strip())


def _announce(plan: Plan) -> None:
    """Say where everything is."""
    processes = plan.deployment.processes
    address = plan.deployment.public_url
    roles = RoleBook(service.roles for service in plan.services if service.roles is not None)
    door = (("API", address), ("Docs", f"{address}/docs"), ("Health", f"{address}/health")) if address else ()
    lines = (
        *door,
        *((name, _place(process)) for name, process in processes.items()),
        ("Data", str(plan.settings.data_dir.absolute())),
        ("Token", token_command(plan.settings, plan.deployment, roles)),
        ("Renew", f"kill -HUP {os.getpid()} (one process after the other)"),
        ("Stop", f"Ctrl-C (drains for up to {plan.settings.drain_seconds:g} s each; twice to force)"),
    )
    count = sum(process.replicas for process in processes.values())
    print_lines(f"after {time.monotonic() - STARTED:.1f} s, in {count} processes ({plan.settings.environment})", lines)


def _place(process: Process) -> str:
    services = ", ".join(process.services) or "gateway"
    return f"{', '.join(process.urls)} ({services})" if process.urls else f"({services}; only works)"
