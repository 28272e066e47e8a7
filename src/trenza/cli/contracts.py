"""``trenza asyncapi`` and ``trenza contracts``: what services send and offer as documents, and what a change to it breaks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from trenza.chassis.runtime.asyncapi import Changes, NoDocument, changes_between, describe_messages
from trenza.chassis.runtime.contracts import changes_between_contracts, describe_contracts
from trenza.chassis.runtime.deployment import load_services, read_deployment
from trenza.cli.errors import Failure
from trenza.cli.tables import print_json

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONTRACTS", "MESSAGES", "Kind", "compare", "print_document"]


@dataclass(frozen=True)
class Kind:
    """A kind of document: the command that prints it, how it is made of services and a title, how two are compared."""

    command: str
    describe: Callable[..., Any]
    changes: Callable[[Any, Any], Changes]


MESSAGES = Kind("asyncapi", describe_messages, changes_between)
CONTRACTS = Kind("contracts", describe_contracts, changes_between_contracts)


def print_document(kind: Kind, *, deployment: str) -> None:
    """Print the document, as JSON (which is YAML as well)."""
    print_json(_document(kind, deployment))


def compare(kind: Kind, against: Path, *, deployment: str) -> bool:
    """Print what has changed for the worse since an older document; returns whether that breaks anything."""
    try:
        changes = kind.changes(_read(kind, against), _document(kind, deployment))
    except NoDocument as error:
        raise Failure(f"{against}: {error}") from error
    for line in changes.breaking:
        typer.echo(f"breaking  {line}")
    for line in changes.careful:
        typer.echo(f"careful   {line}")
    if not changes.breaking:
        typer.echo("nothing breaks")
    return bool(changes.breaking)


def _document(kind: Kind, deployment: str) -> dict[str, Any]:
    found = read_deployment(deployment)
    return dict(kind.describe(load_services(found.services), title=f"Trenza, deployment {found.name}"))


def _read(kind: Kind, path: Path) -> Any:
    remedy = f"name a file that `trenza {kind.command}` has printed"
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Failure(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    except ValueError as error:
        raise Failure(f"{path} is no JSON ({error}); {remedy}") from error
