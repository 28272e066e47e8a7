"""Signed URLs that the platform serves itself: one object, one method, until a moment."""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, urlencode

from trenza.chassis.blobs.keys import check_key
from trenza.chassis.blobs.objects import MAX_URL_LIFETIME, SignedMethod
from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.contract import ContractError
from trenza.chassis.made_once import make_once

__all__ = [
    "BLOB_PATH",
    "InvalidSignature",
    "PutGuard",
    "UrlSigner",
    "check_download_name",
    "check_length",
    "check_lifetime",
    "load_or_create_secret",
]

BLOB_PATH = "/blobs/"
"""Where the platform serves signed URLs."""
MAX_NAME_LENGTH = 255
MIN_SECRET_BYTES = 32
"""HMAC-SHA256 gains nothing above its output's length and loses below it (RFC 2104 section 3)."""
_SECONDS = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_LENGTH = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)


PutGuard = Callable[[str], Awaitable[None]]
"""Raises a `ContractError` when nothing may be stored under a key (any more) by its link."""


class InvalidSignature(ContractError):
    """The URL was not signed by us for this method and object, or it has expired."""

    status = 403
    title = "Link not valid"


class UrlSigner:
    """HMAC-SHA256 over method, key, expiry, download name and length. The secret is at least 32 bytes."""

    def __init__(self, secret: bytes, *, public_url: str, clock: Clock | None = None) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            message = f"TRENZA_BLOBS_SECRET has {len(secret)} bytes: set {MIN_SECRET_BYTES} or more random characters"
            raise ValueError(message)
        self._secret = secret
        self._base = public_url.rstrip("/") + BLOB_PATH
        self._clock = clock or SystemClock()
        self._guards: dict[str, PutGuard] = {}

    def guard_puts(self, folder: str, guard: PutGuard) -> None:
        """Ask ``guard`` before an object below a folder is stored by its link, which may have served already."""
        self._guards[f"{folder}/"] = guard

    async def check_put(self, key: str) -> None:
        """Raise what the guard of a key's folder raises, if there is one."""
        for folder, guard in self._guards.items():
            if key.startswith(folder):
                await guard(key)

    def url(
        self, key: str, *, method: SignedMethod, expires_in: timedelta, download_name: str | None, length: int | None = None
    ) -> str:
        """The absolute URL, valid until ``expires_in`` from now (whole seconds, rounded down), for a body of ``length`` bytes."""
        check_key(key)
        check_lifetime(expires_in)
        check_download_name(download_name)
        check_length(length, method)
        expires = int((self._clock.now() + expires_in).timestamp())
        query = {"expires": str(expires)}
        if download_name:
            query["download"] = download_name
        if length is not None:
            query["length"] = str(length)
        query["signature"] = self._signature(method, key, expires, download_name, query.get("length"))
        return f"{self._base}{quote(key, safe='/')}?{urlencode(query, quote_via=quote)}"

    def verify(
        self,
        *,
        method: SignedMethod,
        key: str,
        expires: str | None,
        signature: str | None,
        download_name: str | None,
        length: str | None = None,
    ) -> timedelta:
        """The time that the URL has left; raises `InvalidSignature`. A forged URL is not told whether it also came late.

        A ``length`` that passes is a whole number in decimal digits.
        """
        if not expires or not signature or not _SECONDS.fullmatch(expires) or not (length is None or _LENGTH.fullmatch(length)):
            raise InvalidSignature("the link is incomplete", remedy="use the whole link as it was handed out")
        expected = self._signature(method, key, int(expires), download_name or None, length)
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            raise InvalidSignature("the link's signature does not match", remedy="use the link as it was handed out")
        left = int(expires) - self._clock.now().timestamp()
        if left <= 0:
            raise InvalidSignature("the link has expired", remedy="ask for a new one")
        return timedelta(seconds=left)

    def _signature(self, method: SignedMethod, key: str, expires: int, download_name: str | None, length: str | None) -> str:
        # Neither keys nor names that are signed hold a newline, so that no two different requests have the same text. A length
        # changes the first line as well: it could otherwise be moved into the name, and the URL would be good for any.
        kind = ("trenza-blob-1",) if length is None else ("trenza-blob-length-1", length)
        text = "\n".join((*kind, method, key, str(expires), download_name or ""))
        return urlsafe_b64encode(hmac.digest(self._secret, text.encode(errors="replace"), sha256)).decode().rstrip("=")


def check_lifetime(expires_in: timedelta) -> None:
    """Refuse lifetimes that S3 would refuse: it takes one second to seven days."""
    if not timedelta(seconds=1) <= expires_in <= MAX_URL_LIFETIME:
        message = f"a signed URL lives for 1 second to {MAX_URL_LIFETIME.days} days, not {expires_in}"
        raise ValueError(message)


def check_download_name(name: str | None) -> None:
    """Refuse names that could not stand in a header or be a file's name."""
    if name is not None and (not name.isprintable() or len(name) > MAX_NAME_LENGTH or "/" in name or "\\" in name):
        message = f"a download name is at most {MAX_NAME_LENGTH} printable characters without slashes"
        raise ValueError(message)


def check_length(length: int | None, method: SignedMethod) -> None:
    """Refuse a length where nothing is sent, and one that no body has."""
    if length is not None and (method != "PUT" or length < 0):
        message = f"a length of {length} bytes cannot be signed for {method}: only a PUT brings bytes, none or more"
        raise ValueError(message)


def load_or_create_secret(path: Path) -> bytes:
    """The secret that the file holds; made, readable by its owner only, when there is none.

    Processes that start together end with the same secret.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_once(path, secrets.token_hex(MIN_SECRET_BYTES).encode())
    secret = path.read_bytes().strip()
    if len(secret) < MIN_SECRET_BYTES:
        message = f"{path} holds no usable secret; delete it to have a new one made (links handed out so far end)"
        raise ValueError(message)
    return secret
