"""``trenza photos get``: a photo's record, or one of its versions as a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from uuid import UUID

from trenza.cli.client import ApiClient, problem_of
from trenza.cli.errors import Failure
from trenza.cli.outputs import STANDARD_OUTPUT, Output

__all__ = ["fetch_version", "show_record"]

_EXTENSIONS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/avif": ".avif", "image/tiff": ".tif"}


def show_record(client: ApiClient, photo_id: UUID, output: Path | None) -> None:
    """Print or write the record as JSON. Raises `Failure`."""
    response = client.request("GET", f"/api/photos/{photo_id}")
    if not response.is_success:
        raise Failure(problem_of(response))
    text = json.dumps(response.json(), indent=2, ensure_ascii=False) + "\n"
    with Output(output or STANDARD_OUTPUT, default_stem=str(photo_id)).opened() as written:
        written.file.write(text.encode())


def fetch_version(client: ApiClient, photo_id: UUID, version: str, output: Path | None) -> None:
    """Write a version, and name the file that this made on standard output. Raises `Failure`."""
    target = Output(output, default_stem=f"{photo_id}-{version}")
    with target.opened() as written:
        response = client.download(f"/api/photos/{photo_id}/{version}", written.file.write)
        if not response.is_success:
            raise Failure(problem_of(response))
        written.extension = _EXTENSIONS.get(response.headers.get("content-type", "").partition(";")[0], "")
    if target.name is not None:
        sys.stdout.write(f"{target.name}\n")
