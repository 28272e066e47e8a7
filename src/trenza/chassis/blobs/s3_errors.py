"""What obstore raises, in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError

from trenza.chassis.blobs.objects import BlobMissing, BlobsUnavailable

__all__ = ["in_our_words", "knows_no_conditions"]


@contextmanager
def in_our_words(key: str) -> Iterator[None]:
    """Turn obstore's errors into ours. Their texts hold URLs and bodies, so only the kind of the cause is told."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise _refusal(error, key) from error


def _refusal(error: Exception, key: str) -> BlobMissing | BlobsUnavailable:
    text = str(error)  # of listings, obstore tells the status and S3's code nowhere but there
    if "<Code>NoSuchBucket</Code>" in text:
        return BlobsUnavailable("the bucket of TRENZA_BLOBS_URL does not exist", remedy="create it")
    if isinstance(error, FileNotFoundError):
        return BlobMissing(f"there is no object {key!r}", key=key)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or "status code: 403" in text:
        return BlobsUnavailable("the object storage refuses the credentials", remedy="check AWS_* and the bucket's policy")
    if isinstance(error, PreconditionError):
        return BlobsUnavailable("the object was replaced while it was read", remedy="read it again")
    return BlobsUnavailable("the object storage did not answer as it should")


def knows_no_conditions(error: BaseError) -> bool:
    """Whether a server refused a write because it came with a condition (``NotImplemented`` in S3's words)."""
    return "status code: 501" in str(error)
