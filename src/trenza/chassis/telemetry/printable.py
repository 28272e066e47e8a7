"""Foreign text for people to read: what could steer their terminal is escaped, and what is endless is cut."""

from __future__ import annotations

__all__ = ["printable"]

_CUT = "…"


def printable(text: str, *, most: int | None = None, keep: str = "") -> str:
    r"""The text with each character that a terminal would not show as itself escaped (``\x1b``, ``\u202e``).

    Those are control characters of both sets, what turns the direction of writing, zero-width characters and halves of
    characters. Those in ``keep`` stay. Of a text longer than ``most`` characters the end is cut off.
    """
    shown = text if most is None else text[: most + 1]
    if not shown.isprintable():
        shown = "".join(each if each.isprintable() or each in keep else _escaped(each) for each in shown)
    return shown if most is None or len(shown) <= most else shown[: most - 1] + _CUT


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
