"""``trenza messages``, ``tasks``, ``dead-letters`` and ``objects``: look at and steer what the services' databases hold."""

# ruff: noqa: PLC0415 - every command imports what it needs when it runs, so that `trenza --help` stays instant

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from trenza.cli.options import AsJson, DataDir, DeploymentName, ServiceName, Yes, id_shown_by

__all__ = ["dead_letters", "messages", "objects", "tasks"]

messages = typer.Typer(
    name="messages", help="See what waits, runs and fails, in all services; declare what they receive.", no_args_is_help=True
)
tasks = typer.Typer(name="tasks", help="Look at and cancel background work.", no_args_is_help=True)
dead_letters = typer.Typer(
    name="dead-letters", help="Messages that failed for good: inspect, redrive, discard.", no_args_is_help=True
)
objects = typer.Typer(name="objects", help="The store of the objects.", no_args_is_help=True)

_task_id, _letter_id = id_shown_by("trenza tasks list"), id_shown_by("trenza dead-letters list")
TaskId = Annotated[UUID, typer.Argument(metavar="ID", parser=_task_id, help="The task's id, as `list` shows it.")]
LetterId = Annotated[UUID, typer.Argument(metavar="ID", parser=_letter_id, help="The message's id, as `list` shows it.")]
LetterIds = Annotated[list[UUID] | None, typer.Argument(metavar="ID", parser=_letter_id, help="Messages by id.")]
Everything = Annotated[bool, typer.Option("--all", help="All of them (of the service, with --service).")]
State = Annotated[str | None, typer.Option(help="Only those waiting, running, completed, failed or cancelled.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")]


@messages.command("top")
def watch_messages(
    *,
    service: ServiceName = None,
    once: Annotated[bool, typer.Option("--once", help="Print one table, with the rates of the last ten seconds.")] = False,
    seconds: Annotated[float, typer.Option(min=0.2, max=60, help="Between two looks.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts: a line for each look.")] = False,
    data_dir: DataDir = None,
    deployment: DeploymentName = "monolith",
) -> None:
    """Watch the queues of all services, until Ctrl-C: what waits, since when, and how fast it goes."""
    from trenza.cli import message_watching

    scope = message_watching.Scope(data_dir, deployment, service)
    message_watching.watch(scope, once=once, seconds=seconds, as_json=as_json)


@messages.command("declare")
def declare_subscriptions(
    *, service: ServiceName = None, data_dir: DataDir = None, deployment: DeploymentName = "monolith"
) -> None:
    """Have the broker keep events from now on for every service that reacts to any, also where it has never run."""
    from trenza.cli import message_declaring

    message_declaring.declare(data_dir=data_dir, deployment=deployment, service=service)


@tasks.command("list")
def list_tasks(
    *,
    service: ServiceName = None,
    state: State = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    deployment: DeploymentName = "monolith",
) -> None:
    """List tasks, the newest first."""
    from trenza.cli import task_commands

    task_commands.show_list(task_commands.Scope(data_dir, deployment, service), state=state, limit=limit, as_json=as_json)


@tasks.command("show")
def show_task(
    task_id: TaskId,
    *,
    service: ServiceName = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    deployment: DeploymentName = "monolith",
) -> None:
    """Show one task."""
    from trenza.cli import task_commands

    task_commands.show_one(task_commands.Scope(data_dir, deployment, service), task_id, as_json=as_json)


@tasks.command("cancel")
def cancel_task(
    task_id: TaskId, *, service: ServiceName = None, data_dir: DataDir = None, deployment: DeploymentName = "monolith"
) -> None:
    """Cancel a task: a waiting one never starts, a running one is stopped."""
    from trenza.cli import task_commands

    task_commands.cancel(task_commands.Scope(data_dir, deployment, service), task_id)


@dead_letters.command("list")
def list_letters(
    *,
    service: ServiceName = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    deployment: DeploymentName = "monolith",
) -> None:
    """List dead letters, the oldest first."""
    from trenza.cli import letter_commands

    letter_commands.show_list(letter_commands.Scope(data_dir, deployment, service), limit=limit, as_json=as_json)


@dead_letters.command("show")
def show_letter(
    message_id: LetterId,
    *,
    service: ServiceName = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    deployment: DeploymentName = "monolith",
) -> None:
    """Show one dead letter with its payload and its last error."""
    from trenza.cli import letter_commands

    letter_commands.show_one(letter_commands.Scope(data_dir, deployment, service), message_id, as_json=as_json)


@dead_letters.command("redrive")
def redrive_letters(
    message_ids: LetterIds = None,
    *,
    everything: Everything = False,
    yes: Yes = False,
    service: ServiceName = None,
    data_dir: DataDir = None,
    deployment: DeploymentName = "monolith",
) -> None:
    """Give dead letters all their attempts again."""
    from trenza.cli import letter_commands

    letter_commands.settle(
        letter_commands.Scope(data_dir, deployment, service), "redrive", message_ids or [], everything=everything, confirmed=yes
    )


@dead_letters.command("discard")
def discard_letters(
    message_ids: LetterIds = None,
    *,
    everything: Everything = False,
    yes: Yes = False,
    service: ServiceName = None,
    data_dir: DataDir = None,
    deployment: DeploymentName = "monolith",
) -> None:
    """Drop dead letters for good."""
    from trenza.cli import letter_commands

    letter_commands.settle(
        letter_commands.Scope(data_dir, deployment, service), "discard", message_ids or [], everything=everything, confirmed=yes
    )


@objects.command("adopt")
def adopt_objects(*, yes: Yes = False, data_dir: DataDir = None, deployment: DeploymentName = "monolith") -> None:
    """Let the databases belong to the object store of the settings, once all objects have been copied into it."""
    from trenza.cli import object_commands

    object_commands.adopt(object_commands.Scope(data_dir, deployment, None), confirmed=yes)
