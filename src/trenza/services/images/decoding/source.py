"""What a decoder gives: an opened image of which nothing but the header has been read yet, and the refusals it may raise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyvips

from trenza.services.images.decoding.metadata import Taken

__all__ = ["Damaged", "Source"]


class Damaged(Exception):
    """The decoder cannot make an image of this file. The text is the decoder's own, for the log and not for the user."""


@dataclass(frozen=True, slots=True)
class Source:
    """An image file whose header has been read by its real decoder."""

    width: int
    height: int
    """The upright size, in pixels."""
    taken: Taken
    """When and where it was taken."""
    scale: Callable[[int, int], pyvips.Image]
    """Decodes to an upright image of exactly this width and height, never larger than the original. Colours are still the file's
    own. Errors in the pixels may surface only when they are computed."""
