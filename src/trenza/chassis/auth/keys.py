"""The Ed25519 keys that sign tokens and passports, and their public halves."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from trenza.chassis.made_once import make_once

__all__ = ["ALGORITHM", "KeyRing", "SigningKey", "UnusableKey", "VerifyingKey"]

ALGORITHM = "EdDSA"
"""The only signature algorithm (RFC 8037). It is a constant so that a token's header can never choose another."""

_OTHERS_ACCESS = 0o077


class UnusableKey(Exception):
    """A key file cannot be used; the message names the file and the remedy, never its content."""


@dataclass(frozen=True)
class VerifyingKey:
    """The public half of a signing key. ``kid`` is its RFC 7638 thumbprint."""

    public_key: Ed25519PublicKey
    kid: str

    @classmethod
    def of(cls, public_key: Ed25519PublicKey) -> VerifyingKey:
        """A public key with the name that follows from it."""
        return cls(public_key, _thumbprint(_base64url(_raw(public_key))))

    @classmethod
    def from_file(cls, path: Path) -> VerifyingKey:
        """The key in a file: a JSON Web Key (``.jwk``) or a public key in PEM. Raises `UnusableKey`."""
        try:
            content = path.read_bytes()
            if path.suffix == ".jwk":
                return cls.of(_public_of(json.loads(content)))
            key = load_pem_public_key(content)
        except OSError as error:
            raise UnusableKey(f"{path}: cannot be read ({error.strerror}); name a readable file") from error
        except (ValueError, TypeError, KeyError, UnsupportedAlgorithm) as error:
            raise UnusableKey(
                f"{path}: holds no public Ed25519 key (a JWK in .jwk, PEM in .pem); remove it or put one there"
            ) from error
        if not isinstance(key, Ed25519PublicKey):
            raise UnusableKey(f"{path}: is not an Ed25519 key; remove it, or put the public half of one there")
        return cls.of(key)

    def jwk(self) -> dict[str, str]:
        """The key as a JSON Web Key (RFC 8037, section 2)."""
        x = _base64url(_raw(self.public_key))
        return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig", "alg": ALGORITHM}


@dataclass(frozen=True)
class SigningKey:
    """A private key. Its representation shows the key's name only."""

    _private_key: Ed25519PrivateKey
    verifying_key: VerifyingKey

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"

    @property
    def kid(self) -> str:
        """The key's name: the RFC 7638 thumbprint of its public half."""
        return self.verifying_key.kid

    @classmethod
    def generate(cls) -> SigningKey:
        """A new random key that is stored nowhere."""
        return cls._of(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem_file(cls, path: Path) -> SigningKey:
        """The key in an unencrypted PEM file (PKCS #8). Raises `UnusableKey`."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise UnusableKey(f"{path}: cannot be read ({error.strerror}); name a readable PEM file") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            remedy = "make one with: openssl genpkey -algorithm ed25519"
            raise UnusableKey(f"{path}: holds no unencrypted PEM private key; {remedy}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise UnusableKey(f"{path}: is not an Ed25519 key; make one with: openssl genpkey -algorithm ed25519")
        return cls._of(key)

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """The key in the file, made with mode 0600 when there is none.

        Any number of processes may start at once: the file appears complete, once, and all of them get the same key. Raises
        `UnusableKey`, also when others than the owner may access the file.
        """
        if not path.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            path.parent.mkdir(parents=True, exist_ok=True)
            make_once(path, pem)
        mode = path.stat().st_mode
        if os.name == "posix" and mode & _OTHERS_ACCESS:
            raise UnusableKey(f"{path}: others may access this private key; run: chmod 600 {path}")
        return cls.from_pem_file(path)

    @classmethod
    def _of(cls, private_key: Ed25519PrivateKey) -> SigningKey:
        return cls(private_key, VerifyingKey.of(private_key.public_key()))

    def sign(self, claims: Mapping[str, Any], *, typ: str = "JWT") -> str:
        """The claims as a compact JWS whose header names this key and ``typ``."""
        return jwt.encode(dict(claims), self._private_key, algorithm=ALGORITHM, headers={"kid": self.kid, "typ": typ})

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public half as a JSON Web Key Set."""
        return {"keys": [self.verifying_key.jwk()]}


class KeyRing:
    """The public keys that are trusted, by name: several while keys are being rotated."""

    def __init__(self, keys: Iterable[SigningKey | VerifyingKey]) -> None:
        public = (key.verifying_key if isinstance(key, SigningKey) else key for key in keys)
        self._keys = {key.kid: key for key in public}

    @classmethod
    def from_jwks(cls, document: Mapping[str, Any]) -> KeyRing:
        """The Ed25519 keys of a JSON Web Key Set; others are passed over. Names are computed, not believed."""
        return cls(
            VerifyingKey.of(_public_of(jwk))
            for jwk in document["keys"]
            if jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519"
        )

    def _hold(self, keys: Mapping[str, VerifyingKey]) -> None:
        """Trust these keys, by their names, and no others."""
        # A key that stays is the same object as before: what was verified with it is known by that.
        self._keys = {kid: self._keys.get(kid, key) for kid, key in keys.items()}

    def find(self, kid: object) -> Ed25519PublicKey | None:
        """The public key of that name, or None when it is not trusted."""
        found = self._keys.get(kid) if isinstance(kid, str) else None
        return None if found is None else found.public_key

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The trusted keys as a JSON Web Key Set."""
        return {"keys": [key.jwk() for key in self._keys.values()]}


def _public_of(jwk: Mapping[str, Any]) -> Ed25519PublicKey:
    """The key in a JSON Web Key (RFC 8037, section 2). Raises `ValueError`, `KeyError` or `TypeError` for another."""
    if jwk["kty"] != "OKP" or jwk["crv"] != "Ed25519":
        raise ValueError("another kind of key")
    return Ed25519PublicKey.from_public_bytes(_from_base64url(jwk["x"]))


def _raw(public_key: Ed25519PublicKey) -> bytes:
    return public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _thumbprint(x: str) -> str:
    """RFC 7638: the digest of the required members in lexicographic order, without white space."""
    members = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
    return _base64url(hashlib.sha256(members.encode()).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
