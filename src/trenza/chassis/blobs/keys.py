"""The rules of object keys: those that a file system and S3 both keep without changing them."""

from __future__ import annotations

from trenza.chassis.blobs.objects import InvalidBlobKey

__all__ = ["MAX_KEY_BYTES", "MAX_SEGMENT_BYTES", "check_key", "check_prefix"]

MAX_KEY_BYTES = 1024
"""S3's limit of a key in UTF-8 (Amazon S3 User Guide, "Naming Amazon S3 objects")."""
MAX_SEGMENT_BYTES = 255
"""NAME_MAX of the usual file systems, for each part between slashes."""


def check_key(key: str, *, max_bytes: int = MAX_KEY_BYTES) -> str:
    """The key itself when it is sound; raises `InvalidBlobKey` otherwise, naming the rule.

    Segments divided by ``/``, none of them empty, ``.`` or ``..`` and none over 255 bytes; printable characters other than the
    backslash (some S3 servers turn it into a slash); at most ``max_bytes`` bytes of UTF-8.
    """
    if not key:
        raise InvalidBlobKey("an object key is empty", field="key", remedy="name the object")
    if not key.isprintable() or "\\" in key:  # isprintable also refuses lone surrogates, which have no UTF-8
        raise InvalidBlobKey(
            "an object key holds a control character or a backslash", field="key", remedy="use printable characters"
        )
    if len(key.encode()) > max_bytes:
        raise InvalidBlobKey(f"an object key is longer than {max_bytes} bytes", field="key", limit=max_bytes, remedy="shorten it")
    for segment in key.split("/"):
        if segment in {"", ".", ".."}:
            raise InvalidBlobKey(
                "an object key has an empty, '.' or '..' segment",
                field="key",
                remedy="use a relative key such as photos/UP-1/a.jpg",
            )
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            raise InvalidBlobKey(
                f"a segment of an object key is longer than {MAX_SEGMENT_BYTES} bytes",
                field="key",
                limit=MAX_SEGMENT_BYTES,
                remedy="shorten it",
            )
    return key


def check_prefix(prefix: str) -> str:
    """A folder to list: a sound key, with or without a final slash, or the empty string for everything. Without the slash."""
    folder = prefix.removesuffix("/")
    return check_key(folder) if folder or prefix else ""
