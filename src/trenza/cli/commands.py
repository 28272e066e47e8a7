"""The commands of ``trenza`` and their options; what each does lies in the module that it imports when it runs."""

# ruff: noqa: PLC0415 - every command imports what it needs when it runs, so that `trenza --help` stays instant

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trenza.cli import gateway_configs, keys, operations, photos
from trenza.cli.errors import OneLineErrors, UsageFailure
from trenza.cli.options import AsJson, DataDir, DeploymentName

if TYPE_CHECKING:
    from trenza.cli.contracts import Kind

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
app.add_typer(keys.app, name="keys")
app.add_typer(operations.messages, name="messages")
app.add_typer(operations.tasks, name="tasks")
app.add_typer(operations.dead_letters, name="dead-letters")
app.add_typer(gateway_configs.app, name="gateway-config")
app.add_typer(operations.objects, name="objects")


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on, else 127.0.0.1; 0.0.0.0 for all.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on, else 8000; 0 chooses a free one.")
    ] = None,
    data_dir: DataDir = None,
    deployment: DeploymentName = "monolith",
) -> None:
    """Start the whole deployment until Ctrl-C or SIGTERM: in this process, or in several on this machine."""
    import gc

    gc.disable()  # nothing that the imports make is garbage; looking for it would cost a sixth of the start
    from trenza.chassis.runtime.deployment import read_deployment

    found = read_deployment(deployment)
    if found.alone:
        from trenza.cli.serving import braided

        raise typer.Exit(braided(found, host=host or "127.0.0.1", port=8000 if port is None else port, data_dir=data_dir))
    if host is not None or port is not None:
        raise UsageFailure(f"deployment {found.name!r} has several processes: their addresses are in its file, not in options")
    gc.enable()
    from trenza.cli.supervising import supervise

    raise typer.Exit(supervise(deployment, data_dir=data_dir))


@app.command()
def serve(
    process: Annotated[str, typer.Argument(metavar="PROCESS", help="A process of the deployment, by its name there.")],
    deployment: DeploymentName = "split",
    host: Annotated[str | None, typer.Option(help="Address to listen on, else that of its url; 0.0.0.0 in a container.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on, else that of its url.")] = None,
    *,
    replica: Annotated[int, typer.Option(min=0, max=63, help="Which of its replicas on this machine, from 0.")] = 0,
    data_dir: DataDir = None,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> None:
    """Start one process of a deployment, as a container would, until Ctrl-C or SIGTERM."""
    import gc

    gc.disable()  # as above
    from trenza.chassis.runtime.deployment import read_deployment
    from trenza.cli.serving import serve_process

    found = read_deployment(deployment)
    code = serve_process(found, process, host=host, port=port, replica=replica, data_dir=data_dir, supervised=supervised)
    raise typer.Exit(code)


@app.command()
def plan(
    deployment: DeploymentName = "monolith",
    data_dir: DataDir = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw it as an SVG instead; - for standard output.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show who hosts what, which calls are local and which remote, and everything that is missing at once."""
    from trenza.cli.planning import show_plan

    show_plan(deployment=deployment, data_dir=data_dir, as_json=as_json, picture=picture)


@app.command()
def status(
    deployment: DeploymentName = "monolith",
    url: Annotated[
        str | None, typer.Option(envvar="TRENZA_URL", help="Where a deployment of one process is, else http://127.0.0.1:8000.")
    ] = None,
    data_dir: DataDir = None,
    *,
    token: Annotated[
        str | None,
        typer.Option(envvar="TRENZA_TOKEN", help="With platform:viewer; else one of the key in the data folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask every process how it is: checks, breakers, replicas. Exit code 1 unless all are healthy."""
    from trenza.cli.status import show_status

    healthy = show_status(deployment=deployment, url=url, token=token, data_dir=data_dir, as_json=as_json)
    raise typer.Exit(0 if healthy else 1)


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
    from trenza.cli.contracts import MESSAGES

    _print_or_compare(MESSAGES, against, deployment)


@app.command()
def contracts(
    deployment: DeploymentName = "monolith",
    against: Annotated[
        Path | None,
        typer.Option(metavar="OLD.json", help="An older one: say what breaks since; exit code 1 when something does."),
    ] = None,
) -> None:
    """Print the operations that services call on each other as a document: parameters, results, errors, time-outs."""
    from trenza.cli.contracts import CONTRACTS

    _print_or_compare(CONTRACTS, against, deployment)


def _print_or_compare(kind: Kind, against: Path | None, deployment: str) -> None:
    from trenza.cli.contracts import compare, print_document

    if against is None:
        print_document(kind, deployment=deployment)
    elif compare(kind, against, deployment=deployment):
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed_version

    typer.echo(f"trenza {installed_version('trenza')}")
