"""The passports of calls: fetched for the client, kept while they last, and checked at the route."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import jwt

from trenza.chassis.auth.keys import KeyRing, SigningKey
from trenza.chassis.auth.passports import (
    LONGEST_PASSPORT,
    InvalidToken,
    Passport,
    PassportVerifier,
    issue_passport,
    verify_passport,
)
from trenza.chassis.calls.protocol import PASSPORT_SCHEME, TurnedAway
from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.context import Principal

__all__ = ["PassportControl", "Passports"]

_SHORTEST_LEFT = timedelta(seconds=30)
"""A kept passport is handed out while it is good for this much longer: time enough for a slow connection."""
_MOST_KEPT = 1024


class Passports:
    """Issues the passports of one calling service.

    A signature costs about as much as the rest of a call, so that a passport is used again for the same callee and principal
    during half of its life.
    """

    def __init__(self, key: SigningKey | Callable[[], SigningKey], *, caller: str, clock: Clock | None = None) -> None:
        """``key`` is the one that signs, or gives the one that signs now: while keys are rotated it changes."""
        self._key = key
        self._caller = caller
        self._clock = clock or SystemClock()
        self._kept: dict[tuple[object, ...], tuple[datetime, str]] = {}

    def header(self, audience: str, principal: Principal) -> str:
        """The ``Authorization`` header for a call to the service ``audience`` on behalf of ``principal``."""
        now = self._clock.now()
        key = self._key if isinstance(self._key, SigningKey) else self._key()
        # Not the principal itself, whose hash takes as long as the rest of this.
        whose = (key.kid, audience, principal.subject, principal.kind, principal.scopes)
        kept = self._kept.get(whose)
        if kept is None or kept[0] <= now:
            passport = issue_passport(
                key, caller=self._caller, audience=audience, principal=principal, ttl=LONGEST_PASSPORT, clock=self._clock
            )
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            kept = self._kept[whose] = (now + LONGEST_PASSPORT - _SHORTEST_LEFT, passport)
        return f"{PASSPORT_SCHEME} {kept[1]}"


class PassportControl:
    """Decides at one service's route who comes in."""

    def __init__(self, keys: KeyRing, *, audience: str, clock: Clock) -> None:
        self._keys, self._audience, self._clock = keys, audience, clock
        self._verifier = PassportVerifier(keys, audience=audience, clock=clock)

    def check(self, header: str) -> Passport:
        """The passport in an ``Authorization`` header.

        Raises `TurnedAway` with 401, or with 403 for a genuine passport that is for another service.
        """
        scheme, _, token = header.partition(" ")
        if scheme.lower() != PASSPORT_SCHEME.lower():
            raise TurnedAway(401, "This route is for services only: it needs a passport.")
        try:
            return self._verifier.verify(token)
        except InvalidToken as error:
            other = _named_audience(token)
            if other and other != self._audience and _is_genuine(token, self._keys, other, self._clock):
                raise TurnedAway(403, f"This passport is for the service {other!r}, not for {self._audience!r}.") from error
            raise TurnedAway(401, error.detail) from error


def _named_audience(token: str) -> str | None:
    """The service that a passport names, not yet believed."""
    try:
        audience = jwt.decode(token, options={"verify_signature": False}).get("aud")
    except jwt.InvalidTokenError:
        return None
    return audience.removeprefix("service:") if isinstance(audience, str) else None


def _is_genuine(token: str, keys: KeyRing, audience: str, clock: Clock) -> bool:
    """Whether it would admit its bearer to that other service."""
    try:
        verify_passport(token, keys, audience=audience, clock=clock)
    except InvalidToken:
        return False
    return True
