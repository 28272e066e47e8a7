"""Asking before something that cannot be undone."""

from __future__ import annotations

import sys

import typer

from trenza.cli.errors import Failure, UsageFailure

__all__ = ["confirm"]


def confirm(question: str, *, what: str) -> None:
    """Ask at a terminal; elsewhere nobody can answer, so ``what`` needs --yes. Raises `Failure` when the answer is no."""
    if not sys.stdin.isatty():
        raise UsageFailure(f"{what} needs --yes where nobody can be asked")
    if not typer.confirm(question, err=True):
        raise Failure("nothing was changed")
