"""Keys in files that change: new ones are believed, revoked ones are not, broken ones cost nothing else."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trenza.chassis.auth.key_files import KeyFiles
from trenza.chassis.auth.keys import SigningKey, UnusableKey
from trenza.chassis.auth.rotation import publish_next, revoke, sign_with_next
from trenza.chassis.auth.tokens import InvalidToken, TokenVerifier, issue_token


class Watched:
    """Key files in a folder, and the time at which they are looked at."""

    def __init__(self, folder: Path) -> None:
        self.signing, self.trusted = folder / "signing.pem", folder / "trusted"
        self.now = 100.0
        self.first = SigningKey.load_or_create(self.signing)
        self.keys = self.opened()

    def opened(self) -> KeyFiles:
        return KeyFiles(self.signing, self.trusted, monotonic=lambda: self.now)

    def trust(self, key: SigningKey, name: str = "other.jwk") -> Path:
        self.trusted.mkdir(exist_ok=True)
        (self.trusted / name).write_text(json.dumps(key.verifying_key.jwk()))
        return self.trusted / name


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_an_unknown_name_has_the_files_looked_at_but_not_at_any_rate(watched: Watched) -> None:
    key = SigningKey.generate()
    assert watched.keys.find(key.kid) is None
    watched.trust(key)
    watched.now += 0.2
    assert watched.keys.find(key.kid) is None, "looked at less than a quarter of a second ago"
    watched.now += 0.1
    assert watched.keys.find(key.kid) is not None


def test_what_is_removed_stops_within_two_seconds(watched: Watched) -> None:
    key = SigningKey.generate()
    file = watched.trust(key)
    keys = watched.opened()
    assert keys.find(key.kid) is not None
    file.unlink()
    watched.now += 2
    assert keys.find(key.kid) is None
    assert [each["kid"] for each in keys.jwks()["keys"]] == [watched.first.kid]


def test_public_keys_in_pem_are_trusted_too(watched: Watched) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    watched.trusted.mkdir()
    (watched.trusted / "a.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert len(watched.opened().jwks()["keys"]) == 2


def test_a_broken_file_costs_nothing_but_itself(watched: Watched) -> None:
    key = SigningKey.generate()
    watched.trust(key)
    (watched.trusted / "broken.jwk").write_text("{")
    watched.signing.write_text("broken")
    watched.now += 2
    assert watched.keys.find(key.kid) is not None
    assert watched.keys.find(watched.first.kid) is not None
    assert watched.keys.signing_key().kid == watched.first.kid


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jwk", b"{}"),
        ("a.jwk", b"[]"),
        ("a.jwk", b'{"kty": "OKP", "crv": "Ed25519", "x": "AA"}'),
        ("a.jwk", b'{"kty": "RSA", "crv": "Ed25519", "x": "AA"}'),
        ("a.pem", b"no key"),
        (
            "a.pem",
            ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ),
    ],
)
def test_a_start_with_bad_files_is_refused_in_a_line(watched: Watched, name: str, content: bytes) -> None:
    watched.trusted.mkdir()
    (watched.trusted / name).write_bytes(content)
    with pytest.raises(UnusableKey, match=rf"{name}: .*Ed25519") as caught:
        watched.opened()
    assert "\n" not in str(caught.value)


def test_there_is_nothing_to_sign_with_before_it_is_published(watched: Watched) -> None:
    with pytest.raises(UnusableKey, match=r"next\.pem"):
        sign_with_next(watched.signing)
    assert watched.opened().signing_key().kid == watched.first.kid


def test_a_rotation_that_was_interrupted_goes_on_with_the_same_key(watched: Watched) -> None:
    published = publish_next(watched.signing, watched.trusted)
    assert publish_next(watched.signing, watched.trusted).kid == published.kid
    assert sign_with_next(watched.signing).kid == published.kid


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(["look", "publish", "sign", "revoke", "wait"]), max_size=14))
def test_whatever_signs_is_trusted_by_every_process_that_looks_every_two_seconds(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """Two processes look at different moments; a rotation waits five seconds between its steps."""
    watched = Watched(tmp_path_factory.mktemp("keys"))
    signer, verifier = watched.keys, TokenVerifier(watched.opened())
    published = False
    revocable: list[str] = []
    for step in steps:
        if step == "look":
            verifier.keys.jwks()
        elif step == "publish":
            publish_next(watched.signing, watched.trusted)
            published = True
        elif step == "sign" and published:
            watched.now += 5
            verifier.keys.jwks()
            old = signer.signing_key().kid
            sign_with_next(watched.signing)
            published = False
            revocable.append(old)
        elif step == "revoke" and revocable:
            watched.now += 2
            signer.signing_key()
            revoke(revocable.pop(0), watched.signing, watched.trusted)
        elif step == "wait":
            watched.now += 1
        token = issue_token(signer.signing_key(), "ana", ["photos:viewer"], timedelta(minutes=5))
        try:
            verifier.verify(token)
        except InvalidToken as error:
            raise AssertionError(steps) from error
