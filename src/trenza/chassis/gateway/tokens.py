"""The check of bearer tokens at the door: what is not valid goes no further. Services authorise by themselves all the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from trenza.chassis.auth.permissions import InvalidToken
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.context import Principal

__all__ = ["TokenCheck"]

_KEPT_SECONDS: Final = 5.0
"""How long a verdict is used again. A signature costs more than the rest of a request; 5 s is the leeway of expiry anyway."""
_MOST_KEPT: Final = 4096


class TokenCheck:
    """Verifies ``Authorization: Bearer …``; other schemes, and none, are for the services to judge."""

    def __init__(self, verifier: TokenVerifier, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._verifier, self._monotonic = verifier, monotonic
        self._kept: dict[str, tuple[float, Principal | InvalidToken]] = {}

    def check(self, authorization: str | None) -> Principal | None:
        """Who bears the token; None without one. Raises `InvalidToken`."""
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return None
        now = self._monotonic()
        kept = self._kept.get(token)
        if kept is None or kept[0] <= now:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            kept = self._kept[token] = (now + _KEPT_SECONDS, self._verdict(token))
        if isinstance(kept[1], InvalidToken):
            raise InvalidToken(kept[1].reason)
        return kept[1]

    def known(self, authorization: str | None) -> Principal | None:
        """Who bears the token; None without one that is valid."""
        try:
            return self.check(authorization)
        except InvalidToken:
            return None

    def _verdict(self, token: str) -> Principal | InvalidToken:
        try:
            return self._verifier.verify(token)
        except InvalidToken as error:
            return error
