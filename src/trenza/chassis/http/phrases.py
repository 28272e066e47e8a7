"""How problems are put into words, in English and Spanish, by their code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

from trenza.chassis.contract import ContractError
from trenza.chassis.http.catalogue import CATALOGUE
from trenza.chassis.http.gateway_catalogue import GATEWAY_CATALOGUE
from trenza.chassis.http.rate_limit_catalogue import RATE_LIMIT_CATALOGUE

__all__ = ["PHRASES", "Language", "Phrase", "Phrases", "Refusal", "preferred_language", "say"]

Language = Literal["en", "es"]


@dataclass(frozen=True)
class Phrase:
    """A problem's title, detail and, where somebody can do something about it, remedy.

    ``{name}`` in the detail is the problem's field of that name; ``{name:size}`` tells it as an amount of bytes.
    """

    title: str
    detail: str
    remedy: str = ""

    @property
    def placeholders(self) -> frozenset[str]:
        """The fields that the detail speaks of."""
        return frozenset(name for _, name, _, _ in Formatter().parse(self.detail) if name)


Phrases = Mapping[str, Mapping[Language, Phrase]]


PHRASES: Phrases = {
    code: {"en": Phrase(*english), "es": Phrase(*spanish)}
    for code, (english, spanish) in (CATALOGUE | GATEWAY_CATALOGUE | RATE_LIMIT_CATALOGUE).items()
}
"""The chassis' own words."""


def say(code: str, language: Language, fields: Mapping[str, Any], more: Phrases | None = None) -> Phrase | None:
    """The phrase for a code with its fields filled in; None where the language has none or a field is missing.

    A catalogue may hold words for one field of a code alone, under ``CODE:field``; those go first.
    """
    found = {**PHRASES, **(more or {})}
    phrase = found.get(f"{code}:{fields.get('field')}", found.get(code, {})).get(language)
    if phrase is None or not phrase.placeholders <= fields.keys():
        return None
    return Phrase(phrase.title, _filling.vformat(phrase.detail, (), fields), phrase.remedy)


class _Filling(Formatter):
    """``str.format`` with ``{limit:size}``: 52428800 as "50 MB (52428800 bytes)"."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        """One field, as its specification wants it."""
        return _size(value) if format_spec == "size" else super().format_field(value, format_spec)


_filling = _Filling()
_UNITS = ((1024**3, "GB"), (1024**2, "MB"), (1024, "KB"))


def _size(count: int) -> str:
    for unit, name in _UNITS:
        amount = f"{count / unit:.4g}"
        if count >= unit and float(amount) * unit == count:  # a rounded one would contradict the bytes beside it
            return f"{amount} {name} ({count} bytes)"
    return f"{count} bytes"


class Refusal(ContractError):
    """A refusal by the HTTP layer itself: its words come from the catalogue, by its code."""

    def __init__(self, detail: str = "", **fields: Any) -> None:
        phrase = say(self.code, "en", fields)
        super().__init__(detail or (phrase.detail if phrase else ""), **fields)


def preferred_language(accept_language: str) -> Language:
    """English or Spanish, whichever an ``Accept-Language`` header (RFC 9110, section 12.5.4) prefers; English by default."""
    best: tuple[float, Language] = (0.0, "en")
    for choice in accept_language.lower().split(",")[:20]:
        tag, _, parameter = choice.strip().partition(";")
        weight = _weight(parameter.strip())
        primary = tag.strip().split("-")[0]
        if primary in ("en", "es") and weight > best[0]:
            best = (weight, "es" if primary == "es" else "en")
    return best[1]


def _weight(parameter: str) -> float:
    """The value of ``q=0.8``; 1 without one and 0 for what cannot be read."""
    if not parameter:
        return 1.0
    name, _, value = parameter.partition("=")
    try:
        return float(value) if name.strip() == "q" else 0.0
    except ValueError:
        return 0.0
