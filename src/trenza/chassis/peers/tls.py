"""Mutual TLS between the processes of the platform: what clients present, and what servers demand."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from trenza.chassis.settings import CannotStart, PlatformSettings

__all__ = ["UnusableTls", "client_tls", "server_tls"]


class UnusableTls(CannotStart):
    """The certificate, its key or the authority cannot be used; one line that names the variable, the file and the remedy."""


def client_tls(settings: PlatformSettings) -> ssl.SSLContext | None:
    """What `open_session` is given: it trusts ``TRENZA_TLS_CA_FILE`` alone and presents our certificate. None: TLS is not set up.

    Names are checked (RFC 9525): a certificate must hold the host of the URL. Raises `UnusableTls`.
    """
    files = _files(settings)
    if files is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load(context, *files)
    return context


def server_tls(settings: PlatformSettings) -> dict[str, Any]:
    """Keyword arguments for ``uvicorn.Config``; empty when TLS is not set up.

    Clients must show a certificate that ``TRENZA_TLS_CA_FILE`` has signed, or the handshake fails. Raises `UnusableTls`.
    """
    files = _files(settings)
    if files is None:
        return {}
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *files)  # so that what is wrong with them is told in our words
    certificate, key, authority = files
    return {
        "ssl_certfile": str(certificate),
        "ssl_keyfile": str(key),
        "ssl_ca_certs": str(authority),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }


def _files(settings: PlatformSettings) -> tuple[Path, Path, Path] | None:
    """Certificate, key and authority: all of them or none."""
    named = {
        "TRENZA_TLS_CERT_FILE": settings.tls_cert_file,
        "TRENZA_TLS_KEY_FILE": settings.tls_key_file,
        "TRENZA_TLS_CA_FILE": settings.tls_ca_file,
    }
    missing = [name for name, path in named.items() if path is None]
    if len(missing) == len(named):
        return None
    if missing:
        raise UnusableTls(f"{missing[0]} is not set: mutual TLS needs {', '.join(named)}; set all three, or none")
    for name, path in named.items():
        try:
            path.read_bytes() if path else b""
        except OSError as error:
            raise UnusableTls(f"{name} names {path}: {error.strerror}; name a readable PEM file") from error
    certificate, key, authority = named.values()
    return (certificate, key, authority) if certificate and key and authority else None


def _load(context: ssl.SSLContext, certificate: Path, key: Path, authority: Path) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # both sides are ours
    try:
        context.load_verify_locations(authority)
    except (ssl.SSLError, ValueError) as error:
        raise UnusableTls(
            f"TRENZA_TLS_CA_FILE names {authority}: it holds no PEM certificate; name that of the authority"
        ) from error
    try:
        # An encrypted key would ask on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        raise UnusableTls(
            f"TRENZA_TLS_CERT_FILE names {certificate} and TRENZA_TLS_KEY_FILE {key}: they are not a PEM certificate and its"
            " unencrypted key; name a pair that belongs together"
        ) from error
