"""The keys of a deployment as files that change while processes run: the one that signs, and those that are trusted besides."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from trenza.chassis.auth.keys import KeyRing, SigningKey, UnusableKey, VerifyingKey
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["LOOK_SECONDS", "KeyFiles", "trusted_files"]

LOOK_SECONDS = 2.0
"""How often files are looked at: what was revoked is trusted for so long at most."""
_SOONEST_SECONDS = 0.25
"""How soon an unknown key's name has them looked at again; whoever invents names costs a few file system calls a second."""

_Snapshot = tuple[tuple[str, int, int, int], ...]

_log = get_logger(__name__)


class KeyFiles(KeyRing):
    """A `KeyRing` that follows its files: the signing key's public half, and every key in the folder of trusted ones.

    Trusted are ``*.jwk`` (a JSON Web Key) and ``*.pem`` (a public key). A file that cannot be read while the process runs counts
    for nothing and is told in the log; without a readable signing key the last one goes on signing. Raises `UnusableKey` where
    the files are bad from the start; that the folder does not exist is no fault.
    """

    def __init__(self, signing: Path, trusted: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(())
        self._signing_file, self._trusted_folder, self._monotonic = signing, trusted, monotonic
        self._snapshot = self._stat()
        self._looked_at = monotonic()
        self._signing_key = SigningKey.from_pem_file(signing)
        self._hold({key.kid: key for key in (self._signing_key.verifying_key, *map(VerifyingKey.from_file, self._trusted()))})

    @classmethod
    def of(cls, settings: PlatformSettings) -> KeyFiles:
        """Those that the settings name, or ``keys/signing.pem`` and ``keys/trusted`` in the data folder."""
        return cls(*cls.places(settings))

    @staticmethod
    def places(settings: PlatformSettings) -> tuple[Path, Path]:
        """Where the signing key and the folder of trusted keys lie."""
        signing = settings.signing_key_file or settings.data_dir / "keys" / "signing.pem"
        return signing, settings.trusted_keys_dir or signing.parent / "trusted"

    def signing_key(self) -> SigningKey:
        """The key that signs now."""
        self._look(LOOK_SECONDS)
        return self._signing_key

    def find(self, kid: object) -> Ed25519PublicKey | None:
        """The public key of that name, or None when it is not trusted (any more)."""
        self._look(LOOK_SECONDS)
        found = super().find(kid)
        if found is None and self._look(_SOONEST_SECONDS):
            found = super().find(kid)
        return found

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The trusted keys as a JSON Web Key Set."""
        self._look(LOOK_SECONDS)
        return super().jwks()

    def _look(self, every: float) -> bool:
        """Read what has changed, unless that was seen to less than ``every`` seconds ago. Whether anything had."""
        now = self._monotonic()
        if now - self._looked_at < every:
            return False
        self._looked_at = now
        snapshot = self._stat()
        if snapshot == self._snapshot:
            return False
        self._snapshot = snapshot
        self._read()
        return True

    def _read(self) -> None:
        try:
            self._signing_key = SigningKey.from_pem_file(self._signing_file)
        except UnusableKey as error:
            _log.error("signing key not read; the last one goes on signing", reason=str(error), kid=self._signing_key.kid)
        keys = {self._signing_key.kid: self._signing_key.verifying_key}
        for path in self._trusted():
            try:
                key = VerifyingKey.from_file(path)
            except UnusableKey as error:
                _log.error("trusted key not read", reason=str(error))
            else:
                keys[key.kid] = key
        _log.info("keys changed", signing=self._signing_key.kid, trusted=sorted(keys))
        self._hold(keys)

    def _trusted(self) -> list[Path]:
        return trusted_files(self._trusted_folder)

    def _stat(self) -> _Snapshot:
        """What changes when a file does. One that is gone meanwhile is left out."""
        found = []
        for path in (self._signing_file, *self._trusted()):
            try:
                stat = path.stat()
            except OSError:
                continue
            found.append((str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(found)


def trusted_files(folder: Path) -> list[Path]:
    """The files of trusted keys in a folder, by name; none when there is no folder."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in (".jwk", ".pem") and not path.name.startswith("."))
    except FileNotFoundError:
        return []
