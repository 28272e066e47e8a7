"""The one place where a signed claim set is checked, for tokens and passports alike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

import jwt
from pydantic import TypeAdapter, ValidationError

from trenza.chassis.auth.keys import ALGORITHM, KeyRing
from trenza.chassis.clock import Clock
from trenza.chassis.context import Principal
from trenza.chassis.contract import ContractError

__all__ = [
    "ISSUER",
    "LEEWAY_SECONDS",
    "InvalidToken",
    "checked_claims",
    "kid_of",
    "lifetime_claims",
    "principal_claims",
    "principal_of",
]

ISSUER = "trenza"
LEEWAY_SECONDS = 5.0
"""Seconds by which the clocks of two machines may differ."""
_LONGEST = 8192
"""Characters; servers refuse header lines beyond about this anyway."""

_scope = TypeAdapter(str)


class InvalidToken(ContractError):
    """The token was refused.

    ``reason`` says no more than its bearer may know: a wrong signature, key, algorithm, issuer or audience are all just
    "not trusted".
    """

    status: ClassVar[int] = 401
    code = "INVALID_TOKEN"
    title = "Invalid token"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The token is {reason}. Ask for a new one.", reason=reason)
        self.reason = reason


def principal_claims(principal: Principal) -> dict[str, str]:
    """The claims that say who it is: ``sub``, ``kind`` and, separated by spaces (RFC 8693, section 4.2), ``scope``."""
    if spaced := [scope for scope in principal.scopes if not scope or scope.split() != [scope]]:
        raise ValueError(f"a scope is one word: {spaced[0]!r}")
    return {"sub": principal.subject, "kind": principal.kind, "scope": " ".join(principal.scopes)}


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """Who the (already checked) claims are about. Raises `InvalidToken`."""
    try:
        scopes = tuple(_scope.validate_python(claims.get("scope"), strict=True).split())
        return Principal.model_validate({"subject": claims.get("sub"), "kind": claims.get("kind"), "scopes": scopes}, strict=True)
    except ValidationError as error:
        raise InvalidToken("malformed") from error


def checked_claims(token: str, keys: KeyRing, *, typ: str, audience: str, clock: Clock) -> dict[str, Any]:
    """The claims of a token that we signed, of this type, for this audience, and that has not expired. Raises `InvalidToken`."""
    if len(token) > _LONGEST:
        raise InvalidToken("malformed")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError as error:
        raise InvalidToken("malformed") from error
    key = keys.find(header.get("kid"))
    if key is None or header.get("alg") != ALGORITHM or header.get("typ") != typ:
        raise InvalidToken("not trusted")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=audience,
            issuer=ISSUER,
            options={
                "require": ["exp", "iat", "iss", "aud", "sub", "jti"],
                "strict_aud": True,
                # The clock of the platform decides, below: PyJWT knows the machine's only.
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.MissingRequiredClaimError as error:
        raise InvalidToken("malformed") from error
    except jwt.InvalidTokenError as error:
        raise InvalidToken("not trusted") from error
    now = clock.now().timestamp()
    if _moment(claims, "exp") <= now - LEEWAY_SECONDS:
        raise InvalidToken("expired")
    if _moment(claims, "iat") > now + LEEWAY_SECONDS:
        raise InvalidToken("not valid yet")
    return claims


def kid_of(token: str) -> str:
    """The name of the key that (already checked) claims were signed with."""
    return str(jwt.get_unverified_header(token)["kid"])


def lifetime_claims(clock: Clock, ttl: timedelta) -> dict[str, int]:
    """``iat`` and ``exp``, in whole seconds since 1970."""
    issued = int(clock.now().timestamp())
    return {"iat": issued, "exp": issued + max(1, round(ttl.total_seconds()))}


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidToken("malformed")
    return value
