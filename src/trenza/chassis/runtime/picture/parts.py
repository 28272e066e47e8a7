"""Draws the parts of the picture that stand by themselves: boxes with their cards, clients, what is shared, the legend."""

from __future__ import annotations

from trenza.chassis.runtime.picture.boxes import CARD_WIDTH, DETAIL_SIZE, LABEL_WIDTH, LINE, NAME_SIZE, PADDING, SHADOW, Box, Row
from trenza.chassis.runtime.picture.elements import Canvas
from trenza.chassis.runtime.picture.text import text_width, wrapped

__all__ = ["draw_box", "draw_clients", "draw_legend", "draw_shared"]

_CAPTIONS = {
    "request": "requests of clients",
    "remote": "calls to another process",
    "local": "calls within a process",
    "event": "events",
}
_SAMPLE = 34
_SHARED_LABEL = 92


def draw_clients(canvas: Canvas, x: float, y: float, height: float) -> None:
    """Where requests come from."""
    canvas.rectangle("box", x, y, 108, height, radius=height / 2)
    canvas.text(x + 54, y + height / 2 + 5, "Clients", size=14, anchor="middle")


def draw_box(canvas: Canvas, box: Box) -> None:
    """A process with the cards of its services."""
    for index in range(box.shadows, 0, -1):
        inset = 6 * index
        canvas.rectangle("box", box.left + inset, box.top + SHADOW * index, box.width - 2 * inset, box.height)
    canvas.rectangle("box", box.left, box.top, box.width, box.height)
    canvas.text(box.left + PADDING + 4, box.top + 25, box.name, size=NAME_SIZE + 1, weight=600)
    canvas.text(box.left + PADDING + 4, box.top + 44, box.address, size=DETAIL_SIZE, kind="mono muted")
    right = box.left + PADDING + CARD_WIDTH
    for badge in reversed(box.badges):
        width = text_width(badge, DETAIL_SIZE) + 16
        canvas.rectangle("badge", right - width, box.top + 10, width, 21, radius=10.5)
        canvas.text(right - width / 2, box.top + 25, badge, size=DETAIL_SIZE, anchor="middle")
        right -= width + 6
    for row in box.rows:
        _draw_card(canvas, box.left + PADDING, row)


def _draw_card(canvas: Canvas, x: float, row: Row) -> None:
    canvas.rectangle("card", x, row.top, CARD_WIDTH, row.height, radius=6)
    canvas.text(x + PADDING, row.top + 21, row.service, size=NAME_SIZE, weight=600)
    y = row.top + 24
    for detail in row.details:
        canvas.text(x + PADDING, y + LINE, detail.label, size=DETAIL_SIZE, kind="muted")
        for line in detail.lines:
            y += LINE
            canvas.text(x + PADDING + LABEL_WIDTH, y, line, size=DETAIL_SIZE, kind="mono" if detail.mono else "")


def draw_shared(canvas: Canvas, x: float, y: float, width: float, stores: tuple[tuple[str, str], ...]) -> float:
    """What all processes share; returns its lower edge."""
    room = width - 2 * PADDING - _SHARED_LABEL
    lines = [(label if not index else "", line) for label, text in stores for index, line in enumerate(_lines(text, room))]
    height = 42 + LINE * len(lines)
    canvas.rectangle("box", x, y, width, height)
    canvas.text(x + PADDING + 4, y + 25, "Shared by all", size=NAME_SIZE, weight=600)
    for index, (label, line) in enumerate(lines, start=1):
        below = y + 28 + LINE * index
        canvas.text(x + PADDING + 4, below, label, size=DETAIL_SIZE, kind="muted")
        canvas.text(x + PADDING + 4 + _SHARED_LABEL, below, line, size=DETAIL_SIZE)
    return y + height


def _lines(text: str, room: float) -> list[str]:
    return wrapped(text.split(), room, DETAIL_SIZE)


def draw_legend(canvas: Canvas, x: float, y: float, kinds: tuple[str, ...], width: float) -> float:
    """What the lines mean, in as many rows as it takes; returns its lower edge."""
    left = x
    for kind in kinds:
        caption = _CAPTIONS[kind]
        needed = _SAMPLE + 8 + text_width(caption, DETAIL_SIZE)
        if left > x and left + needed > x + width:
            left, y = x, y + LINE + 4
        canvas.dot(kind, left + 3.5, y - 4, 3.5)
        canvas.line(kind, f"M{left + 3.5:g} {y - 4:g}H{left + _SAMPLE - 6:g}")
        canvas.arrow_head(kind, left + _SAMPLE, y - 4, towards="right")
        canvas.text(left + _SAMPLE + 8, y, caption, size=DETAIL_SIZE, kind="muted")
        left += needed + 20
    return y
