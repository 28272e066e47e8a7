"""``trenza gateway-config``: what other gateways need to know, from the same registry as Trenza's own."""

from __future__ import annotations

from typing import Annotated

import typer

from trenza.cli.options import DataDir, DeploymentName

__all__ = ["app"]

# ruff: noqa: PLC0415 - every command imports what it needs when it runs, so that `trenza --help` stays instant

app = typer.Typer(help="Configurations of other gateways, made from what the services declare.", no_args_is_help=True)


@app.command()
def kong(
    deployment: DeploymentName = "split",
    data_dir: DataDir = None,
    per_minute: Annotated[int, typer.Option(min=0, help="Requests that one address may make a minute; 0 for no limit.")] = 100,
    body_megabytes: Annotated[int, typer.Option(min=1, help="The most that any body may have, in MB.")] = 4096,
) -> None:
    """Print Kong's declarative configuration (format 3.0, JSON); what it leaves out stands on standard error."""
    from trenza.chassis.runtime.gateway_configs import KongLimits, kong_config, kong_notes
    from trenza.cli.planning import checked_plan
    from trenza.cli.tables import print_json

    plan = checked_plan(deployment, data_dir)
    print_json(kong_config(plan, KongLimits(requests_per_minute=per_minute, body_megabytes=body_megabytes)))
    _say(kong_notes(plan))


@app.command()
def aws(deployment: DeploymentName = "split", data_dir: DataDir = None) -> None:
    """Print an OpenAPI document for Amazon API Gateway (HTTP API); what it leaves out stands on standard error."""
    from trenza.chassis.runtime.gateway_configs import aws_config, aws_notes
    from trenza.cli.planning import checked_plan
    from trenza.cli.tables import print_json

    plan = checked_plan(deployment, data_dir)
    print_json(aws_config(plan))
    _say(aws_notes(plan))


def _say(notes: tuple[str, ...]) -> None:
    for note in notes:
        typer.echo(f"note: {note}", err=True)
