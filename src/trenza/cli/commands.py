"""The commands of ``trenza`` and their options; what each does lies in the module that it imports when it runs."""

# ruff: noqa: PLC0415 - every command imports what it needs when it runs, so that `trenza --help` stays instant

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trenza.cli import operations, photos
from trenza.cli.errors import OneLineErrors
from trenza.cli.options import DataDir, DeploymentName

__all__ = ["app"]

app = typer.Typer(
    cls=OneLineErrors,
    name="trenza",
    help="Services braided into one process, and their tools.",
    epilog=(
        "All settings are variables: TRENZA_* and ENVIRONMENT, and AWS_* for S3. `trenza settings` lists them, "
        "`trenza doctor` checks them."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(photos.app, name="photos")
app.add_typer(operations.messages, name="messages")
app.add_typer(operations.tasks, name="tasks")
app.add_typer(operations.dead_letters, name="dead-letters")
app.add_typer(operations.objects, name="objects")


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of the machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")] = 8000,
    data_dir: DataDir = None,
    deployment: DeploymentName = "monolith",
) -> None:
    """Start every service of the deployment in this process, until Ctrl-C or SIGTERM."""
    import gc

    gc.disable()  # nothing that the imports make is garbage; looking for it would cost a sixth of the start
    from trenza.cli.serving import run

    raise typer.Exit(run(host=host, port=port, data_dir=data_dir, deployment=deployment))


@app.command()
def token(
    scopes: Annotated[list[str], typer.Argument(metavar="SCOPE", help="What it permits, for example photos:editor.")],
    data_dir: DataDir = None,
    subject: Annotated[str, typer.Option(help="Whom the token speaks for; recorded with what they do.")] = "operator",
    ttl: Annotated[str, typer.Option(help="How long it works: 30m, 12h, 7d.")] = "12h",
    deployment: DeploymentName = "monolith",
) -> None:
    """Print a token, signed with this deployment's own key, alone on standard output."""
    from trenza.cli.tokens import make_token

    typer.echo(make_token(scopes, data_dir=data_dir, subject=subject, ttl=ttl, deployment=deployment))


@app.command()
def migrate(data_dir: DataDir = None, deployment: DeploymentName = "monolith") -> None:
    """Bring the databases of all services up to date."""
    from trenza.cli.migrating import migrate_all

    migrate_all(data_dir=data_dir, deployment=deployment)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar file to write; it holds keys, so keep it safe.")],
    data_dir: DataDir = None,
    deployment: DeploymentName = "monolith",
) -> None:
    """Write the embedded data (databases, objects, keys) into one file, also while the services run."""
    from trenza.cli.backups import back_up

    databases, objects = back_up(file, data_dir=data_dir, deployment=deployment)
    typer.echo(f"{file}: {databases} database{'s' * (databases != 1)} and {objects} object{'s' * (objects != 1)}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `trenza backup` wrote.")], data_dir: DataDir = None
) -> None:
    """Fill an empty data folder from a backup. Refuses one that holds anything or is served from."""
    from trenza.cli.backups import restore as fill

    typer.echo(f"{fill(file, data_dir=data_dir)}: restored from {file}")


@app.command()
def doctor(
    data_dir: DataDir = None,
    deployment: DeploymentName = "monolith",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port that `up` is going to use.")] = 8000,
) -> None:
    """Check this machine and the settings; every finding names its remedy. Exit code 1 when something fails."""
    from trenza.cli.doctor import examine

    raise typer.Exit(examine(data_dir=data_dir, deployment=deployment, port=port))


@app.command()
def settings(
    deployment: DeploymentName = "monolith",
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/settings.md.")] = False,
) -> None:
    """Show every setting: its variable, its default, its meaning."""
    from trenza.cli.settings_reference import print_settings

    print_settings(deployment=deployment, markdown=markdown)


@app.command()
def asyncapi(
    deployment: DeploymentName = "monolith",
    against: Annotated[
        Path | None,
        typer.Option(metavar="OLD.json", help="An older one: say what breaks since; exit code 1 when something does."),
    ] = None,
) -> None:
    """Print the messages of all services as an AsyncAPI document: events, tasks, schedules and who handles them."""
    from trenza.cli import contracts

    if against is None:
        contracts.print_document(deployment=deployment)
    elif contracts.compare(against, deployment=deployment):
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed_version

    typer.echo(f"trenza {installed_version('trenza')}")
