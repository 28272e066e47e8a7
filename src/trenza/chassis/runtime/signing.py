"""The key that signs this deployment's tokens: the named one, or one in the data folder where that is allowed."""

from __future__ import annotations

from pathlib import Path

from trenza.chassis.auth.key_files import KeyFiles
from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.runtime.lock import make_data_folder
from trenza.chassis.settings import CannotStart, PlatformSettings

__all__ = ["NoLocalKey", "key_files", "signing_key", "signing_key_path"]


class NoLocalKey(CannotStart):
    """Production must name its key; one is never made by the way."""


def signing_key_path(settings: PlatformSettings) -> Path:
    """Where the key lies."""
    return settings.signing_key_file or settings.data_dir / "keys" / "signing.pem"


def signing_key(settings: PlatformSettings) -> SigningKey:
    """The key, made on first use in development. Raises `NoLocalKey` in production without one, and `UnusableKey`."""
    if settings.signing_key_file is not None:
        return SigningKey.from_pem_file(settings.signing_key_file)
    if settings.environment == "production":
        raise NoLocalKey("production uses no local key: set TRENZA_SIGNING_KEY_FILE to the PEM file of its Ed25519 key")
    make_data_folder(settings.data_dir)
    return SigningKey.load_or_create(signing_key_path(settings))


def key_files(settings: PlatformSettings) -> KeyFiles:
    """The keys that sign and are trusted, which follow their files. Raises as `signing_key` does."""
    signing_key(settings)
    return KeyFiles.of(settings)
