"""The elements of SVG that the picture is made of."""

from __future__ import annotations

import re
from typing import Literal
from xml.sax.saxutils import escape

from trenza.chassis.runtime.picture.style import STYLE

__all__ = ["Canvas"]

# What XML 1.0 (section 2.2) has no way to write.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Canvas:
    """Collects elements, later ones above earlier ones. Lengths are pixels, ``kind`` is a class of the style sheet."""

    def __init__(self) -> None:
        self._elements: list[str] = []

    def rectangle(self, kind: str, x: float, y: float, width: float, height: float, *, radius: float = 8) -> None:
        """A rectangle with rounded corners."""
        self._elements.append(
            f'<rect class="{kind}" x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}" '
            f'rx="{_number(radius)}"/>'
        )

    def text(
        self, x: float, y: float, text: str, *, size: float, kind: str = "", weight: int = 400, anchor: str = "start"
    ) -> None:
        """A line of text on its base line."""
        shown = f' class="{kind}"' if kind else ""
        shown += f' font-weight="{weight}"' if weight != 400 else ""  # noqa: PLR2004 - what every face has anyway
        shown += f' text-anchor="{anchor}"' if anchor != "start" else ""
        self._elements.append(
            f'<text x="{_number(x)}" y="{_number(y)}" font-size="{_number(size)}"{shown}>{_escaped(text)}</text>'
        )

    def line(self, kind: str, path: str) -> None:
        """A wire along a path."""
        self._elements.append(f'<path class="{kind} wire" d="{path}"/>')

    def clear(self, path: str) -> None:
        """Clear the page along a path, so that a wire that comes to lie there is seen to pass above others."""
        self._elements.append(f'<path class="halo" d="{path}"/>')

    def dot(self, kind: str, x: float, y: float, radius: float) -> None:
        """Where wires join, or one begins."""
        self._elements.append(f'<circle class="{kind} end" cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}"/>')

    def arrow_head(self, kind: str, x: float, y: float, *, towards: Literal["left", "right", "down"]) -> None:
        """A triangle whose tip is at the point."""
        length, half = 9, 4.5
        match towards:
            case "left":
                rest = f"l{length} {-half}v{2 * half}z"
            case "right":
                rest = f"l{-length} {-half}v{2 * half}z"
            case "down":
                rest = f"l{-half} {-length}h{2 * half}z"
        self._elements.append(f'<path class="{kind} end" d="M{_number(x)} {_number(y)}{rest}"/>')

    def document(self, width: float, height: float, *, title: str, description: str) -> str:
        """All of it as a document, with a background of its own and a title and a description for screen readers."""
        size = f'width="{_number(width)}" height="{_number(height)}" viewBox="0 0 {_number(width)} {_number(height)}"'
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">',
            f'<title id="title">{_escaped(title)}</title>',
            f'<desc id="description">{_escaped(description)}</desc>',
            f"<style>\n{STYLE}</style>",
            f'<rect class="page" width="{_number(width)}" height="{_number(height)}"/>',
        )
        return "\n".join((*head, *self._elements, "</svg>")) + "\n"


def _escaped(text: str) -> str:
    return escape(_UNPRINTABLE.sub("\ufffd", text))


def _number(value: float) -> str:
    return f"{round(value, 1):g}"
