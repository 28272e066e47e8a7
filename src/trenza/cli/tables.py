"""How commands print what they found: tables for people, JSON for scripts, both on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["print_grid", "print_json", "print_record", "print_table"]

PIPED_WIDTH = 400
"""Columns where standard output is no terminal."""


def print_grid(table: Table) -> None:
    """A table made by the caller. Where standard output is no terminal: whole lines, without the padding at their ends."""
    console = Console(soft_wrap=True, highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    console.width = PIPED_WIDTH
    with console.capture() as capture:
        console.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def print_table(headings: Sequence[str], lines: Sequence[Sequence[str]], *, empty: str) -> None:
    """One line for each entry, or a sentence when there is none."""
    if not lines:
        sys.stdout.write(f"{empty}\n")
        return
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for line in lines:
        table.add_row(*(escape(" ".join(cell.split())) for cell in line))
    print_grid(table)


def print_record(record: Mapping[str, object]) -> None:
    """A name and a value on each line; what is empty is left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in record.items():
        if value not in (None, "", ()):
            table.add_row(name, escape(str(value)))
    print_grid(table)


def print_json(value: object) -> None:
    """Indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
