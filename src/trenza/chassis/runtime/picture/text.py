"""How wide text is, near enough to lay it out, and where its lines break."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["text_width", "wrapped"]

_NARROW = frozenset("ijlt.,:;'|!()[] fr/-")
_WIDE = frozenset("mwMW@%→")
# Shares of the size of the font, those of the wider faces that a viewer may take for sans-serif (DejaVu Sans, Verdana).
_NARROW_SHARE, _WIDE_SHARE, _UPPER_SHARE, _SHARE, _MONO_SHARE = 0.4, 0.98, 0.72, 0.63, 0.61


def text_width(text: str, size: float, *, mono: bool = False) -> float:
    """The width of a text in pixels, at most by a few too many; ``mono`` in a face whose characters are equally wide."""
    if mono:
        return _MONO_SHARE * size * len(text)
    return size * sum(_share(character) for character in text)


def _share(character: str) -> float:
    if character in _NARROW:
        return _NARROW_SHARE
    if character in _WIDE:
        return _WIDE_SHARE
    return _UPPER_SHARE if character.isupper() else _SHARE


def wrapped(words: Iterable[str], width: float, size: float, *, mono: bool = False) -> list[str]:
    """The words in lines no wider than ``width`` pixels; one that is wider by itself is broken within."""
    lines: list[str] = []
    for whole in words:
        word = whole
        if lines and text_width(f"{lines[-1]} {word}", size, mono=mono) <= width:
            lines[-1] = f"{lines[-1]} {word}"
            continue
        while text_width(word, size, mono=mono) > width:
            fits = max(1, next(n for n in range(len(word), -1, -1) if n == 0 or text_width(word[:n], size, mono=mono) <= width))
            lines.append(word[:fits])
            word = word[fits:]
        if word:
            lines.append(word)
    return lines
