"""How many requests may be asked again: so few that retries never become most of a struggling service's load."""

from __future__ import annotations

from typing import Final

__all__ = ["RetryBudget"]

_SHARE: Final = 0.2
"""Retries earned by a request; 20 % is what Finagle and Envoy allow by default."""
_MOST: Final = 100.0
"""Retries in reserve: what was under way at a replica that dies must all find another one."""


class RetryBudget:
    """A bucket that fills with requests and empties with retries."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _MOST

    def asked(self) -> None:
        """A request came."""
        self._left = min(_MOST, self._left + _SHARE)

    def spend(self) -> bool:
        """Whether one may be asked again."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
