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
"""How long a token that was found valid is taken for it. A signature costs more than the rest of a request, and 5 s is the
leeway of expiry anyway."""
_MOST_KEPT: Final = 4096


class TokenCheck:
    """Verifies ``Authorization: Bearer …``; other schemes, and none, are for the services to judge."""

    def __init__(self, verifier: TokenVerifier, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._verifier, self._monotonic = verifier, monotonic
        self._kept: dict[str, tuple[float, Principal]] = {}

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
            principal = self._verifier.verify(token)  # a refusal is not kept: the key may be one that is just being rolled out
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            kept = self._kept[token] = (now + _KEPT_SECONDS, principal)
        return kept[1]

    def known(self, authorization: str | None) -> Principal | None:
        """Who bears the token; None without one that is valid."""
        try:
            return self.check(authorization)
        except InvalidToken:
            return None
