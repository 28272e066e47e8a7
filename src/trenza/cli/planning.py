"""``trenza plan``: who hosts what, which calls are local and which remote, and all that is missing."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from trenza.chassis.runtime.deployment import DeploymentError, Process, read_deployment
from trenza.chassis.runtime.loading import load_services
from trenza.chassis.runtime.plan import Plan
from trenza.cli.options import read_settings
from trenza.cli.tables import print_grid

__all__ = ["checked_plan", "show_plan"]


def checked_plan(deployment: str, data_dir: Path | None) -> Plan:
    """The plan of a deployment. Raises `DeploymentError` with every problem at once, and `InvalidSettings`."""
    found = read_deployment(deployment)
    plan = Plan(found, load_services(found.services), read_settings(data_dir))
    if plan.problems:
        raise DeploymentError(f"deployment {found.name!r} does not work", plan.problems)
    return plan


def show_plan(*, deployment: str, data_dir: Path | None, as_json: bool) -> None:
    """Print the plan. Raises `DeploymentError` with every problem at once."""
    plan = checked_plan(deployment, data_dir)
    if as_json:
        typer.echo(json.dumps(_document(plan), indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("process", "address", "services", "does"):
        table.add_column(title, header_style="bold", no_wrap=title != "services")
    for name, process in plan.deployment.processes.items():
        table.add_row(escape(name), _addresses(process), escape(", ".join(process.services) or "-"), _does(plan, process))
    print_grid(table)
    if plan.calls:
        typer.echo()
        calls = Table(box=None, pad_edge=False)
        for title in ("in process", "call", "how"):
            calls.add_column(title, header_style="bold", no_wrap=True)
        for call in plan.calls:
            how = "local" if call.local else f"remote, {', '.join(call.urls)}"
            calls.add_row(escape(call.process), escape(f"{call.caller} → {call.callee}"), escape(how))
        print_grid(calls)
    for remark in plan.remarks:
        typer.echo(f"\nnote: {remark}")


def _addresses(process: Process) -> str:
    if not process.urls:
        return "-"
    if process.gateway and process.replicas > 1:
        return f"{process.url} x {process.replicas}"
    return escape("\n".join(process.urls))


def _does(plan: Plan, process: Process) -> str:
    """What a process is for, in words."""
    stored = {service.name for service in plan.services if service.has_database}
    does = ["gateway"] * process.gateway
    if process.urls and process.services:
        does.append("answers")
    if process.workers and stored & set(process.services):
        does.append("works")
    return ", ".join(does)


def _document(plan: Plan) -> dict[str, object]:
    return {
        "deployment": plan.deployment.name,
        "processes": {
            name: {
                "services": list(process.services),
                "gateway": process.gateway,
                "urls": list(process.urls),
                "replicas": process.replicas,
                "workers": process.workers,
            }
            for name, process in plan.deployment.processes.items()
        },
        "calls": [
            {
                "process": call.process,
                "caller": call.caller,
                "callee": call.callee,
                "local": call.local,
                "urls": list(call.urls),
            }
            for call in plan.calls
        ],
        "notes": list(plan.remarks),
    }
