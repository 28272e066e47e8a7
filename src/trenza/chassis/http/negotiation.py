"""Which of several media types a client would rather have (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["preferred_type"]

T = TypeVar("T", bound=str)

_MOST_RANGES = 32
_FULL_WEIGHT = 1.0


def preferred_type(accept: str | None, *, usual: str, on_request: Sequence[T]) -> str | T:
    """The media type to answer with: ``usual``, or one of those ``on_request`` that the client names itself.

    Wildcards mean the usual type only. Among equal weights the first of ``on_request`` wins over the others and over the usual
    one. Where the client takes none of them, it gets the usual one all the same, as the RFC allows.
    """
    weights = _weights(accept or "*/*")
    kind = usual.partition("/")[0]
    best: str | T = usual
    weight = next((weights[name] for name in (usual, f"{kind}/*", "*/*") if name in weights), 0.0)
    for candidate in reversed(on_request):
        offered = weights.get(candidate, 0.0)
        if offered > 0 and offered >= weight:
            best, weight = candidate, offered
    return best


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for media_range in accept.lower().split(",")[:_MOST_RANGES]:
        name, *parameters = (part.strip() for part in media_range.split(";"))
        weights[name] = next((_weight(part) for part in parameters if part.startswith("q=")), _FULL_WEIGHT)
    return weights


def _weight(parameter: str) -> float:
    """The value of ``q=0.8``; 0 for what cannot be read."""
    try:
        weight = float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0
    return min(1.0, weight) if weight > 0 else 0.0  # neither does NaN mean anything
