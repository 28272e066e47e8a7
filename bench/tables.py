"""What a benchmark hands over, and how it is shown: on the terminal and in docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

__all__ = ["Figures", "document", "machine", "show"]


_HEAD = """# Benchmarks

`make bench` prints these tables; `python -m bench NAME --write` writes them into this page. Compare ratios: machines differ."""


@dataclass(frozen=True)
class Figures:
    """The result of one benchmark: a table, and how its figures came about."""

    title: str
    how: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def show(figures: Figures) -> None:
    """Print the table."""
    grid = Grid(title=figures.title, caption=figures.how, title_justify="left", caption_justify="left")
    for index, column in enumerate(figures.columns):
        grid.add_column(column, justify="left" if index == 0 else "right")
    for row in figures.rows:
        grid.add_row(*row)
    Console(width=110).print(grid)


def machine() -> str:
    """The machine, in a line."""
    software = f"{platform.system()}, Python {platform.python_version()}, Trenza {version('trenza')}"
    return f"{_processor()}, {os.cpu_count()} cores, {software}"


def document(results: list[Figures], page: str = "") -> str:
    """All tables in Markdown: these, with machine and date, and those of the ``page`` so far that they do not replace."""
    _, *kept = page.split("\n## ")
    sections = {title: body.strip() for title, _, body in (section.partition("\n") for section in kept)}
    for figures in results:
        alignment = ["---", *["---:"] * (len(figures.columns) - 1)]
        lines = [figures.columns, tuple(alignment), *figures.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        sections[figures.title] = "\n\n".join((table, figures.how, f"*{datetime.now(UTC):%Y-%m-%d}; {machine()}.*"))
    parts = (_HEAD, *(f"## {title}\n\n{body}" for title, body in sorted(sections.items())))
    return "\n\n".join(parts) + "\n"


def _processor() -> str:
    """The processor's name where the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
