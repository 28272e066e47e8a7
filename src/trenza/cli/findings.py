"""What a check of the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "fail", "good", "warn"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: ``fail`` keeps Trenza from working, ``warn`` costs something, and each names its remedy."""

    state: Literal["ok", "warn", "fail"]
    what: str
    detail: str
    remedy: str = ""


def good(what: str, detail: str) -> Finding:
    """All is well."""
    return Finding("ok", what, detail)


def warn(what: str, detail: str, remedy: str) -> Finding:
    """It works, with a cost."""
    return Finding("warn", what, detail, remedy)


def fail(what: str, detail: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding("fail", what, detail, remedy)
