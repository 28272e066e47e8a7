"""Putting another signing key in place of the present one, such that no process meets a token whose key it does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trenza.chassis.auth.key_files import LOOK_SECONDS, trusted_files
from trenza.chassis.auth.keys import SigningKey, UnusableKey, VerifyingKey
from trenza.chassis.made_once import make_once, sync_folder

__all__ = ["SETTLE_SECONDS", "KeyEntry", "entries", "publish_next", "revoke", "sign_with_next"]

SETTLE_SECONDS = 2 * LOOK_SECONDS + 1
"""Between publishing a key and signing with it: every process has looked at its files by then."""


@dataclass(frozen=True)
class KeyEntry:
    """One file of a key. ``role`` is ``signs``, ``next`` or ``trusted``."""

    kid: str
    role: str
    path: Path


def entries(signing: Path, trusted: Path) -> Iterator[KeyEntry]:
    """The keys of a deployment: the one that signs, the next one, and those in the folder. Raises `UnusableKey`."""
    yield KeyEntry(SigningKey.from_pem_file(signing).kid, "signs", signing)
    following = _next(signing)
    if following.exists():
        yield KeyEntry(SigningKey.from_pem_file(following).kid, "next", following)
    for path in trusted_files(trusted):
        yield KeyEntry(VerifyingKey.from_file(path).kid, "trusted", path)


def publish_next(signing: Path, trusted: Path) -> SigningKey:
    """The first step: make the next key, beside the present one, and have both trusted. Repeated, it finds the same key.

    Wait `SETTLE_SECONDS` before the second step. Raises `UnusableKey`, also where the folders cannot be written.
    """
    present = SigningKey.from_pem_file(signing)
    try:
        following = SigningKey.load_or_create(_next(signing))
        for key in (present, following):
            trusted.mkdir(parents=True, exist_ok=True)
            make_once(trusted / f"{key.kid}.jwk", json.dumps(key.verifying_key.jwk()).encode(), mode=0o644)
    except OSError as error:
        raise UnusableKey(f"{error.filename}: cannot be written ({error.strerror}); rotate where the keys are kept") from error
    return following


def sign_with_next(signing: Path) -> SigningKey:
    """The second step: the next key takes the place of the present one, whose public half stays trusted until `revoke`.

    Raises `UnusableKey` where there is no next key.
    """
    following = SigningKey.from_pem_file(_next(signing))
    try:
        _next(signing).replace(signing)
        sync_folder(signing.parent)
    except OSError as error:
        raise UnusableKey(f"{signing}: cannot be replaced ({error.strerror}); rotate where the keys are kept") from error
    return following


def revoke(kid: str, signing: Path, trusted: Path) -> tuple[Path, ...]:
    """Trust a key no longer: its files are removed, and processes refuse it within `LOOK_SECONDS`.

    Raises `UnusableKey` for the one that signs and for one that nobody knows.
    """
    found = [entry for entry in entries(signing, trusted) if entry.kid == kid]
    if not found:
        raise UnusableKey(f"no key is called {kid!r}; `trenza keys list` shows them")
    if any(entry.role == "signs" for entry in found):
        raise UnusableKey(f"{kid} signs now; put another in its place first, with `trenza keys rotate`")
    for entry in found:
        entry.path.unlink(missing_ok=True)
        sync_folder(entry.path.parent)
    return tuple(entry.path for entry in found)


def _next(signing: Path) -> Path:
    return signing.with_name("next.pem")
