"""What a worker is asked to do with one image, and what either way of doing it hands back."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict

from trenza.services.images.decoding.metadata import Taken
from trenza.services.images.placeholders import Pixels

__all__ = ["Done", "JobOutput", "RenderJob"]


class JobOutput(TypedDict):
    """One rendition that a job asks for; ``path`` is where its file goes."""

    path: str
    width: int
    height: int
    fit: Literal["inside", "cover"]
    media_type: str
    quality: int
    progressive: bool
    """Of a JPEG: whether it shows roughly as soon as its first part has come. The others have no choice."""


class RenderJob(TypedDict):
    """One image to render. Sizes are in pixels; ``format`` is a name of `headers.FORMATS`, told from the content."""

    source: str
    format: str
    max_pixels: int
    max_side: int
    processor_seconds: int
    fast: bool
    """Whether an ordinary JPEG may be rendered over its planes. libvips makes the same of it, in more time."""
    outputs: list[JobOutput]


class Done(NamedTuple):
    """An image whose outputs are all written."""

    path: Literal["planes", "libvips"]
    width: int
    height: int
    """The upright size of the original, in pixels."""
    taken: Taken
    sizes: list[tuple[int, int]]
    """Those of the outputs, in their order."""
    pixels: Pixels | None
    """The whole image in a few pixels; None when no outputs were asked for."""
