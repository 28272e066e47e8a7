"""``trenza photos put``: parallel uploads with progress bars, and a table of what became of them."""

from __future__ import annotations

import io
import mimetypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from trenza.cli.client import ApiClient, failed_photo, problem_of
from trenza.cli.errors import Failure, UsageFailure
from trenza.cli.tables import cell, print_grid

__all__ = ["check_files", "upload_all"]

POLL_SECONDS = 0.5
UNFINISHED = {"queued", "processing"}
_WIDE = 120
"""Columns of a terminal that has room for the names of the versions."""
_NARROWEST_NAME = 8
_WIDTHS = {"STATUS": 9, "ID": 36}


@dataclass
class _Outcome:
    """What became of one file."""

    file: Path
    status: str = "failed"
    photo: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return self.status == "failed"


class _Watched(io.FileIO):
    """A file that reports how far it has been read."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        super().__init__(path, "rb")
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and tell the position."""
        data = super().read(-1 if size is None else size)
        self._progress(self.tell())
        return data or b""


def check_files(files: list[Path]) -> None:
    """Refuse what is no readable file before anything is sent. Raises `UsageFailure` for the first."""
    for file in files:
        if file.is_dir():
            raise UsageFailure(f"{file} is a folder; name its files, for example {file}/*.jpg")
        if not file.exists() and any(sign in str(file) for sign in "*?["):
            raise UsageFailure(f"{file} matches no file; leave patterns unquoted so that the shell expands them")
        if not file.exists():
            raise UsageFailure(f"{file} does not exist; check the path")
        if not file.is_file():
            raise UsageFailure(f"{file} is not a file; save what it gives to one first")


def upload_all(client: ApiClient, files: list[Path], *, upid: str, stage: str | None, wait: float, parallel: int) -> bool:
    """Upload every file, show how it goes and what came out; returns whether none failed."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console, transient=True
    )
    # A path may be named twice; each mention is an upload of its own, and the server recognises the duplicate.
    with progress, ThreadPoolExecutor(parallel, thread_name_prefix="upload") as threads:
        bars = [progress.add_task(cell(file.name), total=max(1, file.stat().st_size)) for file in files]

        def one(file: Path, bar: TaskID) -> _Outcome:
            return _upload(
                client, file, lambda position: progress.update(bar, completed=position), upid=upid, stage=stage, wait=wait
            )

        outcomes = list(threads.map(one, files, bars))
    _print_table(outcomes)
    return not any(outcome.failed for outcome in outcomes)


def _upload(
    client: ApiClient, file: Path, progress: Callable[[int], None], *, upid: str, stage: str | None, wait: float
) -> _Outcome:
    """Upload one file. Every attempt carries the same Idempotency-Key, so that however often it is sent there is one photo."""
    outcome = _Outcome(file)
    began = time.monotonic()
    key = uuid4().hex
    # The boundary is named here so that repeated attempts are the same bytes: the server compares bodies under one key.
    headers = {"Idempotency-Key": key, "Content-Type": f"multipart/form-data; boundary={key}"}
    if wait:
        headers["Prefer"] = f"wait={wait:g}"
    fields = {"upid": upid, **({"stage": stage} if stage else {})}
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    opened: list[_Watched] = []

    def build() -> dict[str, Any]:
        opened.append(_Watched(file, progress))
        return {"headers": headers, "data": fields, "files": {"file": (file.name, opened[-1], media_type)}}

    try:
        response = client.request("POST", "/api/photos/upload", wait=wait, build=build)
        if not response.is_success:
            outcome.problem = problem_of(response)
            outcome.photo = failed_photo(response)
            return outcome
        outcome.photo = _followed(client, response.json(), until=began + wait)
    except (Failure, OSError) as error:
        outcome.problem = str(error)
        return outcome
    finally:
        outcome.seconds = time.monotonic() - began
        for handle in opened:
            handle.close()
    outcome.status = str(outcome.photo.get("status", "unknown"))
    if outcome.failed:
        outcome.problem = str((outcome.photo.get("error") or {}).get("detail", "processing failed"))
    return outcome


def _followed(client: ApiClient, photo: dict[str, Any], *, until: float) -> dict[str, Any]:
    """The photo once it is finished, or as it is when the time is up (the server caps how long it waits by itself)."""
    while photo.get("status") in UNFINISHED and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
        response = client.request("GET", f"/api/photos/{photo['id']}")
        if not response.is_success:
            raise Failure(problem_of(response))
        photo = response.json()
    return photo


def _print_table(outcomes: list[_Outcome]) -> None:
    """The result on standard output; plain columns when that is no terminal.

    In a terminal no file, state or id is ever cut short: what went wrong stands in lines of its own below, and a narrow one does
    without the names of the versions.
    """
    console = Console()
    below = console.is_terminal
    table = Table(box=None, pad_edge=False)
    table.add_column("FILE", overflow="fold", min_width=_NARROWEST_NAME, no_wrap=not below)
    for heading in ("STATUS", "ID"):
        table.add_column(heading, no_wrap=True, min_width=_WIDTHS[heading] if below else None)
    table.add_column("SIZE", justify="right", no_wrap=True)
    table.add_column("TIME", justify="right", no_wrap=True)
    with_versions = not below or console.width >= _WIDE
    if with_versions:
        table.add_column("VERSIONS", no_wrap=True)
    for outcome in outcomes:
        colour = "red" if outcome.failed else "yellow" if outcome.status in UNFINISHED else "green"
        versions = " ".join(outcome.photo.get("versions") or ())
        said = versions if below or not outcome.problem else cell(outcome.problem)
        size = f"{outcome.file.stat().st_size / 1024:,.0f} KB"
        table.add_row(
            cell(outcome.file.name),
            f"[{colour}]{cell(outcome.status)}[/{colour}]",
            cell(str(outcome.photo.get("id", "-"))),
            size,
            f"{outcome.seconds:.2f} s",
            *([said] if with_versions else ()),
        )
    print_grid(table)
    for outcome in outcomes if below else ():
        if outcome.problem:
            console.print(f"[red]{cell(outcome.file.name)}[/red]: {cell(outcome.problem)}", highlight=False)
