"""``trenza photos``: upload and fetch photographs. It talks to the HTTP API only, wherever that runs."""

# ruff: noqa: PLC0415 - every command imports what it needs when it runs, so that `trenza --help` stays instant

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from trenza.cli.options import DataDir, id_shown_by

__all__ = ["app"]

app = typer.Typer(name="photos", help="Upload and fetch photographs.", no_args_is_help=True)

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option(metavar="URL", envvar="TRENZA_URL", help="Where the API answers.")]
Token = Annotated[
    str | None,
    typer.Option(envvar="TRENZA_TOKEN", show_default=False, help="A token. A server on this machine needs none: one is made."),
]


class Stage(StrEnum):
    """When in the life of the works a photo was taken."""

    BEFORE = "antes"
    DURING = "durante"
    AFTER = "despues"


@app.command()
def put(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Image files.")],
    *,
    upid: Annotated[str, typer.Option(help="The project unit that the photos belong to, such as UNP-1978.")],
    stage: Annotated[Stage | None, typer.Option(help="When in the life of the works they were taken.")] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    data_dir: DataDir = None,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for each photo's versions.")] = 30,
    parallel: Annotated[int, typer.Option(min=1, max=32, help="Uploads at once.")] = 4,
) -> None:
    """Upload photographs, wait for their versions, and show a table. Exit code 1 when any of them failed."""
    from trenza.cli.client import ApiClient
    from trenza.cli.uploads import check_files, upload_all

    check_files(files)
    with ApiClient(url, token=token, data_dir=data_dir, scope="photos:editor") as client:
        everything_fine = upload_all(client, files, upid=upid, stage=stage and stage.value, wait=wait, parallel=parallel)
    raise typer.Exit(0 if everything_fine else 1)


@app.command()
def get(
    photo_id: Annotated[
        UUID, typer.Argument(metavar="ID", parser=id_shown_by("trenza photos put"), help="The photo's id, as `put` shows it.")
    ],
    *,
    version: Annotated[str | None, typer.Option(help="Fetch this version: thumbnail, small, medium, large or original.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to; - for standard output.")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    data_dir: DataDir = None,
) -> None:
    """Show the record of a photo as JSON, or fetch one of its versions."""
    from trenza.cli.client import ApiClient
    from trenza.cli.downloads import fetch_version, show_record

    with ApiClient(url, token=token, data_dir=data_dir, scope="photos:viewer") as client:
        if version is None:
            show_record(client, photo_id, output)
        else:
            fetch_version(client, photo_id, version, output)
