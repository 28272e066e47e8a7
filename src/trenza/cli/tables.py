"""How commands print what they found: tables for people, JSON for scripts, both on standard output.

Much of it comes from elsewhere: the type of a message, the error of a handler, the answer of a server. It reaches the terminal as
`printable` text only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from trenza.chassis.telemetry.printable import printable

__all__ = ["cell", "json_text", "print_grid", "print_json", "print_record", "print_table"]

PIPED_WIDTH = 400
"""Columns where standard output is no terminal."""
_GAP = "  "
"""Between two cells."""
_WIDEST = 64
"""Columns of one cell; an id takes 36, and is never cut."""
_NARROWEST_END = 40
"""Columns of a terminal that the last cell of a line has at least."""
_LONGEST_VALUE = 4000
"""Characters of one value in a record. JSON has all of it."""


def cell(text: str) -> str:
    """Foreign text for a rich table."""
    return escape(printable(text, most=PIPED_WIDTH))


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
    """One line for each entry, or a sentence when there is none.

    Every cell but the last stands in full, so that an id can be copied from any terminal; in a narrow one, lines go on in the
    next row. The last cell is cut to end with a row.
    """
    if not lines:
        sys.stdout.write(f"{empty}\n")
        return
    console = Console()
    rows = [[*(_line(text, most=_WIDEST) for text in line[:-1]), _line(line[-1])] for line in lines]
    widths = [max(map(cell_len, column)) for column in zip(headings[:-1], *(row[:-1] for row in rows), strict=True)]
    taken = sum(widths) + len(_GAP) * len(widths)
    room = _room(taken, console.width) if console.is_terminal else PIPED_WIDTH
    _print_lines([Text(_joined(headings, widths, room), "bold"), *(Text(_joined(row, widths, room)) for row in rows)])


def print_record(record: Mapping[str, object]) -> None:
    """A name and a value on each line; what is empty is left out. Further lines of a value are indented."""
    shown = {name: value for name, value in record.items() if value not in (None, "", ())}
    width = max(map(len, shown), default=0)
    indent = "\n" + " " * width + _GAP
    _print_lines(
        [Text.assemble((f"{name:<{width}}{_GAP}", "bold"), _text(value).replace("\n", indent)) for name, value in shown.items()]
    )


def print_json(value: object) -> None:
    """Indented JSON."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON with letters as they are, but none of the characters that `printable` escapes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


def _line(text: str, *, most: int = PIPED_WIDTH) -> str:
    return printable(" ".join(text.split()), most=most)


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json_text(value) if isinstance(value, Mapping) else str(value)
    shown = printable(text, most=_LONGEST_VALUE, keep="\n")
    return f"{shown} ({len(text)} characters; --json prints all)" if len(text) > _LONGEST_VALUE else shown


def _room(taken: int, width: int) -> int:
    """Columns from the last cell to the end of a row of the terminal: of the first row where there is room enough."""
    room = -taken % width
    return room if room >= _NARROWEST_END else room + width


def _joined(row: Sequence[str], widths: Sequence[int], room: int) -> str:
    *cells, end = row
    if cell_len(end) > room:
        end = set_cell_size(end, room - 1) + "…"
    return _GAP.join([*(set_cell_size(text, width) for text, width in zip(cells, widths, strict=True)), end])


def _print_lines(lines: Sequence[Text]) -> None:
    """Whole lines, which a terminal breaks by itself; without styles and padding where there is none."""
    console = Console(highlight=False)
    if not console.is_terminal:
        sys.stdout.writelines(f"{line.plain.rstrip()}\n" for line in lines)
        return
    for line in lines:
        console.print(line, soft_wrap=True)
