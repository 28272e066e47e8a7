"""Holds what a worker left to what was ordered: it has handled a stranger's file, so its word is not enough."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from trenza.services.images.contract import ProcessingFailed, Rendition
from trenza.services.images.headers import FORMATS, HeaderError, read_file_header

__all__ = ["check_outputs"]


def check_outputs(renditions: Sequence[Rendition], outputs: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> None:
    """Check that each output is a file of the ordered type, of the size that the worker told and within the ordered box.

    Raises `ProcessingFailed`.
    """
    if len(sizes) != len(outputs):
        raise ProcessingFailed("The worker answered with other renditions than were ordered.")
    for rendition, output, (width, height) in zip(renditions, outputs, sizes, strict=True):
        try:
            # A link in its place would have some other file of this machine stored as a rendition.
            if not stat.S_ISREG(output.lstat().st_mode):
                raise ProcessingFailed(f"The worker did not write {rendition.name!r} as a file.")
            header, _ = read_file_header(output)
        except (OSError, HeaderError) as error:
            raise ProcessingFailed(f"The worker left no image for {rendition.name!r}.") from error
        if (
            FORMATS[header.format].media_type != rendition.media_type
            or (header.width, header.height) != (width, height)
            or width > rendition.width
            or height > rendition.height
        ):
            raise ProcessingFailed(f"The worker left another image than was ordered for {rendition.name!r}.")
