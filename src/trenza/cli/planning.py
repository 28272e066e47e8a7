"""``trenza plan``: who hosts what, which calls are local and which remote, and all that is missing; as a picture, too."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from trenza.chassis.runtime.deployment import DeploymentError, Process, read_deployment
from trenza.chassis.runtime.loading import find_services
from trenza.chassis.runtime.picture import draw_plan
from trenza.chassis.runtime.plan import Plan
from trenza.chassis.runtime.wiring import wiring_problems
from trenza.chassis.settings import InvalidSettings
from trenza.cli.errors import Failure, UsageFailure
from trenza.cli.options import read_settings
from trenza.cli.tables import print_grid

__all__ = ["checked_plan", "show_plan"]


def checked_plan(deployment: str, data_dir: Path | None) -> Plan:
    """The plan of a deployment.

    Raises `DeploymentError`: for a file that cannot be read as one with all that is wrong in it, else with all that is missing at
    once, be it a service, a contract, a package or a setting.
    """
    found = read_deployment(deployment)
    services, problems = find_services(found.services)
    try:
        plan = Plan(found, services, read_settings(data_dir))
    except InvalidSettings as error:
        unloaded = set(found.services) - {service.name for service in services}
        problems += (*wiring_problems(services, unloaded), *error.problems)
    else:
        problems += plan.problems
    if problems:
        raise DeploymentError(f"deployment {found.name!r} does not work", problems)
    return plan


def show_plan(*, deployment: str, data_dir: Path | None, as_json: bool, picture: Path | None = None) -> None:
    """Print the plan, or draw it into the file ``picture`` (``-`` for standard output).

    Raises `DeploymentError` with every problem at once, and `Failure` for a file that cannot be written.
    """
    if picture is not None and as_json:
        raise UsageFailure("--picture and --json are two forms of the plan; ask for one")
    plan = checked_plan(deployment, data_dir)
    if picture is not None:
        _draw(plan, picture)
        return
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


def _draw(plan: Plan, file: Path) -> None:
    drawn = draw_plan(plan)
    if str(file) == "-":
        typer.echo(drawn, nl=False)
        return
    try:
        file.write_text(drawn, encoding="utf-8", newline="\n")
    except OSError as error:
        raise Failure(
            f"{file} cannot be written ({error.strerror}); name a file in a folder that exists, or - for standard output"
        ) from error
    typer.echo(f"{file}: the picture of deployment {plan.deployment.name}")


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
        "events": [{"publisher": flow.publisher, "consumer": flow.consumer, "types": list(flow.types)} for flow in plan.events],
        "notes": list(plan.remarks),
    }
