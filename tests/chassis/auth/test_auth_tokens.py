from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trenza.chassis.auth.keys import KeyRing, SigningKey
from trenza.chassis.auth.passports import LONGEST_PASSPORT, issue_passport, verify_passport
from trenza.chassis.auth.tokens import InvalidToken, TokenVerifier, issue_token
from trenza.chassis.context import ANONYMOUS, Principal
from trenza.chassis.testing.clock import ManualClock

HOUR = timedelta(hours=1)


def claims_of(clock: ManualClock, **changes: Any) -> dict[str, Any]:
    """The claims of a good token, changed; None removes one."""
    now = int(clock.now().timestamp())
    good = {"iss": "trenza", "aud": "trenza", "sub": "ana", "scope": "photos:admin", "kind": "user", "iat": now, "exp": now + 60}
    return {name: value for name, value in {**good, "jti": "1", **changes}.items() if value is not None}


def segments(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))


def test_a_token_says_who_bears_it(key: SigningKey, verifier: TokenVerifier, clock: ManualClock) -> None:
    token = issue_token(key, "ana", ["photos:editor", "platform:viewer"], HOUR, kind="operator", clock=clock)
    assert verifier.verify(token) == Principal(subject="ana", kind="operator", scopes=("photos:editor", "platform:viewer"))
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["iss"] == claims["aud"] == "trenza"
    assert claims["scope"] == "photos:editor platform:viewer"
    assert claims["exp"] - claims["iat"] == 3600
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": key.kid, "typ": "JWT"}


def test_no_two_tokens_are_the_same(key: SigningKey, clock: ManualClock) -> None:
    assert issue_token(key, "ana", [], HOUR, clock=clock) != issue_token(key, "ana", [], HOUR, clock=clock)


def test_a_token_expires(key: SigningKey, verifier: TokenVerifier, clock: ManualClock) -> None:
    token = issue_token(key, "ana", [], HOUR, clock=clock)
    clock.advance(3599)
    assert verifier.verify(token).subject == "ana"
    clock.advance(10)
    with pytest.raises(InvalidToken) as refused:
        verifier.verify(token)
    assert refused.value.reason == "expired"


def test_a_token_from_the_future_is_refused(key: SigningKey, verifier: TokenVerifier, clock: ManualClock) -> None:
    ahead = ManualClock(clock.now() + timedelta(minutes=5))
    with pytest.raises(InvalidToken, match="not valid yet"):
        verifier.verify(issue_token(key, "ana", [], HOUR, clock=ahead))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": None}, "malformed"),
        ({"iat": None}, "malformed"),
        ({"jti": None}, "malformed"),
        ({"sub": None}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": "9999999999"}, "malformed"),
        ({"kind": "emperor"}, "malformed"),
        ({"scope": ["photos:admin"]}, "malformed"),
        ({"scope": None}, "malformed"),
        ({"aud": None}, "malformed"),
        ({"aud": "other"}, "not trusted"),
        ({"aud": ["trenza", "other"]}, "not trusted"),
        ({"iss": "other"}, "not trusted"),
    ],
)
def test_claims_that_are_missing_or_wrong_are_refused(
    key: SigningKey, verifier: TokenVerifier, clock: ManualClock, changes: dict[str, Any], reason: str
) -> None:
    assert verifier.verify(key.sign(claims_of(clock))).subject == "ana"
    with pytest.raises(InvalidToken) as refused:
        verifier.verify(key.sign(claims_of(clock, **changes)))
    assert refused.value.reason == reason


def test_forged_tokens_are_refused(key: SigningKey, verifier: TokenVerifier, clock: ManualClock) -> None:
    claims = claims_of(clock)
    unsigned = segments({"alg": "none", "typ": "JWT", "kid": key.kid}, claims) + "."
    confused = segments({"alg": "HS256", "typ": "JWT", "kid": key.kid}, claims)
    # The classical confusion: the public key as the secret of an HMAC.
    forged = [unsigned]
    for secret in (
        key.verifying_key.public_key.public_bytes(Encoding.Raw, PublicFormat.Raw),
        key.verifying_key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ):
        signature = hmac.new(secret, confused.encode(), hashlib.sha256).digest()
        forged.append(f"{confused}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}")
    stranger = SigningKey.generate()
    forged.append(stranger.sign(claims))
    # A stranger's signature under our key's name.
    signed = segments({"alg": "EdDSA", "typ": "JWT", "kid": key.kid}, claims)
    forged.append(f"{signed}.{stranger.sign(claims).rsplit('.', 1)[1]}")
    # A changed payload under a good signature.
    good = key.sign(claims)
    head, _, signature_part = good.split(".")
    forged.append(f"{head}.{segments({}, {**claims, 'scope': 'platform:admin'}).split('.')[1]}.{signature_part}")
    for token in forged:
        with pytest.raises(InvalidToken) as refused:
            verifier.verify(token)
        assert refused.value.reason == "not trusted", token


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.é.é", "x" * 9000, "e30.e30.e30", "bnVsbA.e30.e30", "\x00"])
def test_what_is_no_token_is_refused(verifier: TokenVerifier, token: str) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(token)


def test_a_rotated_key_is_trusted_as_long_as_the_ring_holds_it(key: SigningKey, clock: ManualClock) -> None:
    successor = SigningKey.generate()
    old_token = issue_token(key, "ana", [], HOUR, clock=clock)
    assert TokenVerifier(KeyRing([successor, key]), clock=clock).verify(old_token).subject == "ana"
    with pytest.raises(InvalidToken):
        TokenVerifier([successor], clock=clock).verify(old_token)


def test_a_passport_says_which_service_calls_for_whom(key: SigningKey, clock: ManualClock) -> None:
    principal = Principal(subject="ana", kind="user", scopes=("photos:editor",))
    passport = verify_passport(
        issue_passport(key, caller="photos", audience="images", principal=principal, clock=clock),
        [key],
        audience="images",
        clock=clock,
    )
    assert (passport.caller, passport.principal) == ("photos", principal)
    nobody = issue_passport(key, caller="photos", audience="images", principal=ANONYMOUS, clock=clock)
    assert verify_passport(nobody, [key], audience="images", clock=clock).principal == ANONYMOUS


def test_a_passport_is_good_for_one_service_and_a_minute(key: SigningKey, clock: ManualClock) -> None:
    token = issue_passport(key, caller="photos", audience="images", principal=ANONYMOUS, clock=clock)
    with pytest.raises(InvalidToken):
        verify_passport(token, [key], audience="payments", clock=clock)
    clock.advance(66)
    with pytest.raises(InvalidToken, match="expired"):
        verify_passport(token, [key], audience="images", clock=clock)
    for ttl in (LONGEST_PASSPORT + timedelta(seconds=1), timedelta(0)):
        with pytest.raises(ValueError, match="at most 60 seconds"):
            issue_passport(key, caller="photos", audience="images", principal=ANONYMOUS, ttl=ttl, clock=clock)


def test_a_passport_that_claims_a_longer_life_is_refused(key: SigningKey, clock: ManualClock) -> None:
    claims = claims_of(clock, aud="service:images", caller="photos", exp=int(clock.now().timestamp()) + 3600)
    with pytest.raises(InvalidToken, match="malformed"):
        verify_passport(key.sign(claims, typ="passport+jwt"), [key], audience="images", clock=clock)


def test_tokens_and_passports_never_pass_for_one_another(key: SigningKey, verifier: TokenVerifier, clock: ManualClock) -> None:
    for service in ("trenza", "images"):
        passport = issue_passport(key, caller="photos", audience=service, principal=Principal(subject="ana"), clock=clock)
        with pytest.raises(InvalidToken, match="not trusted"):
            verifier.verify(passport)
        # Nor with the other's type on it: the audience differs as well.
        relabelled = key.sign(jwt.decode(passport, options={"verify_signature": False}), typ="JWT")
        with pytest.raises(InvalidToken, match="not trusted"):
            verifier.verify(relabelled)
        # Nor is anything a passport that does not say so in its type.
        with pytest.raises(InvalidToken, match="not trusted"):
            verify_passport(relabelled, [key], audience=service, clock=clock)
    token = issue_token(key, "ana", [], timedelta(seconds=30), clock=clock)
    for service in ("trenza", "images"):
        with pytest.raises(InvalidToken, match="not trusted"):
            verify_passport(token, [key], audience=service, clock=clock)


def test_a_scope_with_a_space_cannot_become_two(key: SigningKey, clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="one word"):
        issue_token(key, "ana", ["photos:viewer platform:admin"], HOUR, clock=clock)
