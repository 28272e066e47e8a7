"""``trenza asyncapi``: the messages of a deployment as a document, and whether a change to them breaks anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from trenza.chassis.runtime.asyncapi import NoDocument, changes_between, describe_messages
from trenza.chassis.runtime.deployment import read_deployment
from trenza.chassis.runtime.loading import load_services
from trenza.cli.errors import Failure
from trenza.cli.tables import print_json

__all__ = ["compare", "print_document"]


def print_document(*, deployment: str) -> None:
    """Print the AsyncAPI document, as JSON (which is YAML as well)."""
    print_json(_document(deployment))


def compare(against: Path, *, deployment: str) -> bool:
    """Print what has changed for the worse since an older document; returns whether messages would be lost."""
    try:
        changes = changes_between(_read(against), _document(deployment))
    except NoDocument as error:
        raise Failure(f"{against}: {error}") from error
    for line in changes.breaking:
        typer.echo(f"breaking  {line}")
    for line in changes.careful:
        typer.echo(f"careful   {line}")
    if not changes.breaking:
        typer.echo("nothing breaks")
    return bool(changes.breaking)


def _document(deployment: str) -> dict[str, Any]:
    found = read_deployment(deployment)
    return dict(describe_messages(load_services(found.services), title=f"Trenza, deployment {found.name}"))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Failure(f"{path} cannot be read ({error.strerror}); name a file that `trenza asyncapi` has printed") from error
    except ValueError as error:
        raise Failure(f"{path} is no JSON ({error}); name a file that `trenza asyncapi` has printed") from error
