"""The media type that a key's extension stands for, the same on every machine."""

from __future__ import annotations

import mimetypes

__all__ = ["UNKNOWN_MEDIA_TYPE", "media_type_of"]

UNKNOWN_MEDIA_TYPE = "application/octet-stream"

# A table of our own: the module's functions also read the machine's mime.types files, which differ.
_TYPES = mimetypes.MimeTypes(filenames=())
for _extension, _type in {
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jxl": "image/jxl",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
}.items():
    _TYPES.add_type(_type, _extension)


def media_type_of(key: str) -> str:
    """``image/jpeg`` for ``….jpg`` and so on; ``application/octet-stream`` where the extension says nothing.

    A compressed file is what it is, not what it holds: ``.csv.gz`` is ``application/gzip``.
    """
    guessed, encoding = _TYPES.guess_type(key.rsplit("/", 1)[-1].replace(":", "_"))  # a colon would read as a URL's scheme
    if encoding is not None:
        return f"application/{encoding}" if encoding == "gzip" else UNKNOWN_MEDIA_TYPE
    return guessed or UNKNOWN_MEDIA_TYPE
