"""Access tokens: how the platform's users and operators prove who they are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Literal
from uuid import uuid4

from trenza.chassis.auth.keys import KeyRing, SigningKey, VerifyingKey
from trenza.chassis.auth.signatures import (
    ISSUER,
    InvalidToken,
    checked_claims,
    lifetime_claims,
    principal_claims,
    principal_of,
)
from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.context import Principal

__all__ = ["InvalidToken", "TokenVerifier", "issue_token"]

AUDIENCE = "trenza"
_TYPE = "JWT"


def issue_token(
    key: SigningKey,
    subject: str,
    scopes: Iterable[str],
    ttl: timedelta,
    *,
    kind: Literal["operator", "user", "service"] = "user",
    clock: Clock | None = None,
) -> str:
    """A token for ``subject`` with these scopes (``photos:editor``), valid for ``ttl``: an EdDSA JWT (RFC 7519).

    Claims: ``iss`` and ``aud`` "trenza", ``sub``, ``scope`` (separated by spaces), ``kind``, ``iat``, ``exp``, ``jti``.
    """
    principal = Principal(subject=subject, kind=kind, scopes=tuple(scopes))
    lifetime = lifetime_claims(clock or SystemClock(), ttl)
    return key.sign({"iss": ISSUER, "aud": AUDIENCE, "jti": uuid4().hex, **lifetime, **principal_claims(principal)}, typ=_TYPE)


class TokenVerifier:
    """Decides whether a token is ours. It lives at ``app.state.token_verifier``."""

    def __init__(self, keys: KeyRing | Iterable[SigningKey | VerifyingKey], *, clock: Clock | None = None) -> None:
        self.keys = keys if isinstance(keys, KeyRing) else KeyRing(keys)
        self._clock = clock or SystemClock()

    def verify(self, token: str) -> Principal:
        """Who bears the token. Raises `InvalidToken`."""
        return principal_of(checked_claims(token, self.keys, typ=_TYPE, audience=AUDIENCE, clock=self._clock))
