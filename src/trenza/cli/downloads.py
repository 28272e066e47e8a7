"""``trenza photos get``: a photo's record, or one of its versions as a file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from uuid import UUID

import httpx

from trenza.cli.client import ApiClient, problem_of
from trenza.cli.errors import Failure

__all__ = ["fetch_version", "show_record"]

STANDARD_OUTPUT = Path("-")
_EXTENSIONS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/avif": ".avif", "image/tiff": ".tif"}


def show_record(client: ApiClient, photo_id: UUID, output: Path | None) -> None:
    """Print or write the record as JSON. Raises `Failure`."""
    response = client.request("GET", f"/api/photos/{photo_id}")
    if not response.is_success:
        raise Failure(problem_of(response))
    text = json.dumps(response.json(), indent=2, ensure_ascii=False) + "\n"
    if output is None or output == STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{output} cannot be written ({error.strerror}); choose another with -o") from None


def fetch_version(client: ApiClient, photo_id: UUID, version: str, output: Path | None) -> None:
    """Write a version to a file, which appears complete or not at all, and name it on standard output. Raises `Failure`."""
    path = f"/api/photos/{photo_id}/{version}"
    if output == STANDARD_OUTPUT:
        _accept(client.download(path, sys.stdout.buffer.write))
        return
    folder = output.parent if output else Path.cwd()
    draft = folder / f".{photo_id}-{version}.{os.getpid()}.part"
    try:
        with draft.open("wb") as file:
            response = _accept(client.download(path, file.write))
        extension = _EXTENSIONS.get(response.headers.get("content-type", "").partition(";")[0], "")
        target = output or folder / f"{photo_id}-{version}{extension}"
        draft.replace(target)
    except OSError as error:
        raise Failure(f"{output or folder} cannot be written ({error.strerror}); choose another with -o") from None
    finally:
        draft.unlink(missing_ok=True)
    sys.stdout.write(f"{target}\n")


def _accept(response: httpx.Response) -> httpx.Response:
    if response.status_code != httpx.codes.OK:
        raise Failure(problem_of(response))
    return response
