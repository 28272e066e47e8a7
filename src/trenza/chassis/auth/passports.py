"""Passports: how one service proves to another which service calls, and on whose behalf."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import uuid4

from trenza.chassis.auth.keys import KeyRing, SigningKey, VerifyingKey
from trenza.chassis.auth.signatures import (
    ISSUER,
    LEEWAY_SECONDS,
    InvalidToken,
    checked_claims,
    kid_of,
    lifetime_claims,
    principal_claims,
    principal_of,
)
from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.context import Principal

__all__ = ["LONGEST_PASSPORT", "InvalidToken", "Passport", "PassportVerifier", "issue_passport", "verify_passport"]

LONGEST_PASSPORT = timedelta(seconds=60)
_TYPE = "passport+jwt"
_MOST_KEPT = 1024


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
    return PassportVerifier(ring, audience=audience, clock=clock).verify(token)


class PassportVerifier:
    """Checks passports for one service.

    A signature costs more than the rest of a call, and a caller shows the same passport again for half a minute. One that was
    found genuine is believed at sight until it expires, or until its key is trusted no longer.
    """

    def __init__(self, keys: KeyRing, *, audience: str, clock: Clock | None = None) -> None:
        self._keys, self._audience, self._clock = keys, _audience(audience), clock or SystemClock()
        self._genuine: dict[str, _Genuine] = {}

    def verify(self, token: str) -> Passport:
        """What a passport says. Raises `InvalidToken`."""
        known = self._genuine.get(token)
        if known is not None:
            if known.until > self._clock.now().timestamp() and self._keys.find(known.kid) is not None:
                return known.passport
            del self._genuine[token]
        claims = checked_claims(token, self._keys, typ=_TYPE, audience=self._audience, clock=self._clock)
        caller = claims.get("caller")
        if not isinstance(caller, str) or not caller or claims["exp"] - claims["iat"] > LONGEST_PASSPORT.total_seconds():
            raise InvalidToken("malformed")
        passport = Passport(caller=caller, principal=principal_of(claims))
        if len(self._genuine) >= _MOST_KEPT:
            self._genuine.clear()
        self._genuine[token] = _Genuine(passport, kid_of(token), claims["exp"] + LEEWAY_SECONDS)
        return passport


class _Genuine(NamedTuple):
    """A passport whose signature was checked, the key's name, and the time (seconds since 1970) at which it expires."""

    passport: Passport
    kid: str
    until: float


def _audience(service: str) -> str:
    """The prefix keeps a service that is named like the platform from sharing the audience of access tokens."""
    return f"service:{service}"
