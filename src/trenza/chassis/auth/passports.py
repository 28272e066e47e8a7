"""Passports: how one service proves to another which service calls, and on whose behalf."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
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

__all__ = ["LONGEST_PASSPORT", "InvalidToken", "Passport", "issue_passport", "verify_passport"]

LONGEST_PASSPORT = timedelta(seconds=60)
_TYPE = "passport+jwt"


@dataclass(frozen=True)
class Passport:
    """What a checked passport says: the calling service, and the principal for whom it calls (who may be anonymous)."""

    caller: str
    principal: Principal


def issue_passport(
    key: SigningKey,
    *,
    caller: str,
    audience: str,
    principal: Principal,
    ttl: timedelta = LONGEST_PASSPORT,
    clock: Clock | None = None,
) -> str:
    """A passport with which the service ``caller`` may call the service ``audience`` for ``ttl``, at most 60 seconds.

    The type ``passport+jwt`` and the audience keep it and an access token from passing for one another.
    """
    if not timedelta(0) < ttl <= LONGEST_PASSPORT:
        raise ValueError(f"a passport is valid for at most 60 seconds, not {ttl.total_seconds():g}")
    lifetime = lifetime_claims(clock or SystemClock(), ttl)
    claims = {"iss": ISSUER, "aud": _audience(audience), "jti": uuid4().hex, "caller": caller}
    return key.sign({**claims, **lifetime, **principal_claims(principal)}, typ=_TYPE)


def verify_passport(
    token: str, keys: KeyRing | Iterable[SigningKey | VerifyingKey], *, audience: str, clock: Clock | None = None
) -> Passport:
    """What a passport for the service ``audience`` says. Raises `InvalidToken`."""
    ring = keys if isinstance(keys, KeyRing) else KeyRing(keys)
    claims = checked_claims(token, ring, typ=_TYPE, audience=_audience(audience), clock=clock or SystemClock())
    caller = claims.get("caller")
    if not isinstance(caller, str) or not caller or claims["exp"] - claims["iat"] > LONGEST_PASSPORT.total_seconds():
        raise InvalidToken("malformed")
    return Passport(caller=caller, principal=principal_of(claims))


def _audience(service: str) -> str:
    """The prefix keeps a service that is named like the platform from sharing the audience of access tokens."""
    return f"service:{service}"
