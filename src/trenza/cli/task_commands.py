"""``trenza tasks``: what the services have given themselves to do."""

from __future__ import annotations

import asyncio
from typing import get_args
from uuid import UUID

import typer

from trenza.chassis.messages import Messages, TaskState
from trenza.chassis.messages.board import TaskStateName
from trenza.cli.errors import Failure, UsageFailure
from trenza.cli.message_stores import Scope
from trenza.cli.tables import print_json, print_record, print_table

__all__ = ["Scope", "cancel", "show_list", "show_one"]


def show_list(scope: Scope, *, state: str | None, limit: int, as_json: bool) -> None:
    """Print tasks, the newest first."""
    states: tuple[TaskStateName, ...] = get_args(TaskStateName)
    wanted = next((known for known in states if known == state), None)
    if state is not None and wanted is None:
        raise UsageFailure(f"--state is {state!r}; choose one of {', '.join(states)}")

    async def collect() -> list[tuple[str, TaskState]]:
        found: list[tuple[str, TaskState]] = []
        async with scope.open() as stores:
            for service, messages in stores.items():
                found += [(service, task) for task in await _newest(messages, wanted, limit)]
        return sorted(found, key=lambda entry: entry[1].created_at, reverse=True)[:limit]

    tasks = asyncio.run(collect())
    if as_json:
        print_json([_record(service, task) for service, task in tasks])
        return
    lines = [
        (
            str(task.id),
            service,
            task.type,
            task.state,
            f"{task.progress:.0%}",
            str(task.attempts),
            f"{task.created_at:%Y-%m-%d %H:%M:%S}",
            task.error or "",
        )
        for service, task in tasks
    ]
    print_table(("ID", "SERVICE", "TYPE", "STATE", "DONE", "ATTEMPTS", "CREATED", "ERROR"), lines, empty="no tasks")


async def _newest(messages: Messages, state: TaskStateName | None, limit: int) -> list[TaskState]:
    """The newest tasks of one service, page by page."""
    found: list[TaskState] = []
    cursor = None
    while len(found) < limit:
        page = await messages.list(state=state, limit=limit - len(found), cursor=cursor)
        found += page.tasks
        cursor = page.cursor
        if cursor is None:
            break
    return found


def show_one(scope: Scope, task_id: UUID, *, as_json: bool) -> None:
    """Print everything known of a task."""

    async def find() -> tuple[str, TaskState]:
        async with scope.open() as stores:
            return await _owner(stores, task_id)

    service, task = asyncio.run(find())
    record = _record(service, task)
    print_json(record) if as_json else print_record(record)


def cancel(scope: Scope, task_id: UUID) -> None:
    """Cancel a task; a running one is stopped by the process that runs it, within seconds."""

    async def work() -> TaskState | None:
        async with scope.open() as stores:
            service, before = await _owner(stores, task_id)
            if not await stores[service].cancel(task_id):
                raise Failure(f"task {task_id} has ended already ({before.state}): there is nothing to cancel")
            return await stores[service].find(task_id)

    after = asyncio.run(work())
    cancelled = after is not None and after.state == "cancelled"
    typer.echo(f"{task_id}: {'cancelled' if cancelled else 'asked to stop'}")


async def _owner(stores: dict[str, Messages], task_id: UUID) -> tuple[str, TaskState]:
    for service, messages in stores.items():
        if (task := await messages.find(task_id)) is not None:
            return service, task
    raise Failure(f"no task {task_id} is known; `trenza tasks list` shows them (ended ones for seven days)")


def _record(service: str, task: TaskState) -> dict[str, object]:
    return {"service": service, **task.model_dump(mode="json")}
