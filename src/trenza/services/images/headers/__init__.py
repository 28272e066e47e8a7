"""Reads an image file's format and size from its header, without decoding anything: pure Python, bounded work."""

from trenza.services.images.headers.reading import DamagedHeader, Header, HeaderError, NotAnImage
from trenza.services.images.headers.recognise import (
    FORMATS,
    Format,
    count_scans,
    read_file_header,
    read_header,
    read_header_async,
)

__all__ = [
    "FORMATS",
    "DamagedHeader",
    "Format",
    "Header",
    "HeaderError",
    "NotAnImage",
    "count_scans",
    "read_file_header",
    "read_header",
    "read_header_async",
]
