"""Which object store the settings ask for."""

from __future__ import annotations

from urllib.parse import urlsplit

from trenza.chassis.blobs.folder import naming_the_cause
from trenza.chassis.blobs.local import LocalBlobs
from trenza.chassis.blobs.objects import Blobs
from trenza.chassis.blobs.signatures import UrlSigner, load_or_create_secret
from trenza.chassis.clock import Clock
from trenza.chassis.settings import InvalidSettings, PlatformSettings

__all__ = ["open_blobs"]


def open_blobs(settings: PlatformSettings, *, clock: Clock | None = None) -> Blobs:
    """The object store of ``TRENZA_BLOBS_URL``: ``s3://bucket/prefix``, or the folder ``blobs`` of the data folder.

    Makes the folders that it needs. Raises `InvalidSettings` for a URL of another kind or too short a secret, and
    `BlobsUnavailable` for a data folder that cannot be used.
    """
    try:
        return _open(settings, clock)
    except ValueError as error:
        raise InvalidSettings((str(error),)) from error


def _open(settings: PlatformSettings, clock: Clock | None) -> Blobs:
    spool = settings.data_dir / "spool"
    if settings.blobs_url is None:
        signer = UrlSigner(_secret(settings), public_url=settings.public_url, clock=clock)
        return LocalBlobs(settings.data_dir / "blobs", spool=spool, url_signer=signer)
    if urlsplit(settings.blobs_url).scheme != "s3":
        raise ValueError("TRENZA_BLOBS_URL is of an unknown kind: write s3://bucket/prefix, or unset it for a local folder")
    from trenza.chassis.blobs.s3 import S3Blobs  # noqa: PLC0415 - the embedded default needs no S3 client

    return S3Blobs(settings.blobs_url, spool=spool, clock=clock)


def _secret(settings: PlatformSettings) -> bytes:
    if settings.blobs_secret is not None:
        return settings.blobs_secret.get_secret_value().encode()
    with naming_the_cause("keep the key of its signed URLs"):
        return load_or_create_secret(settings.data_dir / "keys" / "blobs.secret")
