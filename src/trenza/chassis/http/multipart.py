"""The parts of a multipart form as they come out of a byte stream, with every limit checked on the way."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from trenza.chassis.http.phrases import Refusal

__all__ = [
    "FieldPart",
    "FieldTooLarge",
    "FilePart",
    "FormLimits",
    "FormParser",
    "MalformedMultipart",
    "PartHeaders",
    "TooManyFields",
    "TooManyFiles",
    "safe_filename",
]

LONGEST_FILENAME = 255
_LONGEST_NAME = 200
_PART_HEADERS = 16
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)
_PLAIN_ENCODINGS = (b"", b"binary", b"7bit", b"8bit")


class MalformedMultipart(Refusal):
    """The body does not follow RFC 7578; ``fields["problem"]`` says where it goes wrong."""

    status = 400
    code = "MALFORMED_MULTIPART"
    title = "Malformed multipart"


class TooManyFiles(Refusal):
    """More files than one request may bring."""

    status = 413
    code = "TOO_MANY_FILES"
    title = "Too many files"


class TooManyFields(Refusal):
    """More fields than one form may have."""

    status = 413
    code = "TOO_MANY_FIELDS"
    title = "Too many fields"


class FieldTooLarge(Refusal):
    """A field that is no file is longer than it may be."""

    status = 413
    code = "FIELD_TOO_LARGE"
    title = "Field too large"


@dataclass(frozen=True)
class FormLimits:
    """What a form may have at most; sizes in bytes."""

    files: int
    fields: int
    field_bytes: int
    header_bytes: int


@dataclass(frozen=True)
class PartHeaders:
    """What the headers of a part say. ``filename`` is None for a field."""

    name: str
    filename: str | None
    media_type: str


class FilePart(Protocol):
    """What takes the bytes of a file."""

    def feed(self, data: memoryview) -> None:
        """Take the next bytes. Called many times, from within the parser: it must be quick."""
        ...


P = TypeVar("P", bound=FilePart)


@dataclass
class FieldPart:
    """A field that is no file, in memory."""

    name: str
    limit: int
    data: bytearray = field(default_factory=bytearray)

    def feed(self, data: memoryview) -> None:
        """Take the next bytes. Raises `FieldTooLarge`."""
        if len(self.data) + len(data) > self.limit:
            raise FieldTooLarge(field=self.name, limit=self.limit)
        self.data += data

    def text(self) -> str:
        """The value. Raises `MalformedMultipart` when it is not UTF-8 (RFC 7578, section 5.1)."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            problem = f'the field {self.name} is not UTF-8 text; the part of a file says filename="…"'
            raise MalformedMultipart(problem=problem, field=self.name) from error


class FormParser(Generic[P]):
    """Turns chunks of a body into parts. ``current`` is the part that is being received, ``ended`` those that are complete."""

    def __init__(self, boundary: bytes, limits: FormLimits, new_file: Callable[[PartHeaders], P]) -> None:
        self.current: FieldPart | P | None = None
        self.ended: list[FieldPart | P] = []
        self._limits = limits
        self._new_file = new_file
        self._names: set[str] = set()
        self._files = 0
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._header_count = 0
        self._complete = False
        self._first_boundary = b"--" + boundary
        self._preamble: bytearray | None = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_begin": self._header_begins,
                "on_header_field": lambda data, start, end: self._header_data(self._header[0], data[start:end]),
                "on_header_value": lambda data, start, end: self._header_data(self._header[1], data[start:end]),
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._part_data,
                "on_part_end": self._part_ends,
                "on_end": self._form_ends,
            },
            # Both are checked below, where the refusal can name the limit.
            max_header_count=sys.maxsize,
            max_header_size=sys.maxsize,
        )

    def write(self, chunk: bytes) -> None:
        """Parse a chunk. Raises `MalformedMultipart` or the limit that is broken."""
        if self._preamble is not None:
            chunk = self._after_preamble(self._preamble, chunk)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MalformedMultipart(problem="its boundaries or headers cannot be read") from error

    def end(self) -> None:
        """Say that the body has ended. Raises `MalformedMultipart` when the form has not."""
        if not self._complete:
            raise MalformedMultipart(problem="it ends before its closing boundary")

    def _after_preamble(self, before: bytearray, chunk: bytes) -> bytes:
        """What there is from the first boundary on. A text before it is allowed, and means nothing (RFC 2046, section 5.1.1)."""
        before += chunk
        start = before.find(self._first_boundary)
        if (start if start >= 0 else len(before)) > self._limits.header_bytes:
            raise MalformedMultipart(problem="it has no boundary near its beginning", limit=self._limits.header_bytes)
        if start < 0:
            return b""
        if before[:start].strip(b"\r\n") and not before.endswith(b"\r\n", 0, start):  # not to lose the part that begins here
            raise MalformedMultipart(problem="its first boundary does not begin a line")
        self._preamble = None
        return bytes(before[start:])

    def _part_begins(self) -> None:
        self._headers = {}
        self._header_count = 0

    def _header_begins(self) -> None:
        self._header = (bytearray(), bytearray())
        self._header_count += 1
        if self._header_count > _PART_HEADERS:
            raise MalformedMultipart(problem="a part has too many headers", limit=_PART_HEADERS)

    def _header_data(self, known: bytearray, more: bytes) -> None:
        known += more
        if sum(map(len, self._header)) > self._limits.header_bytes:
            raise MalformedMultipart(problem="a header of a part is too long", limit=self._limits.header_bytes)

    def _header_ends(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)

    def _headers_end(self) -> None:
        headers = _part_headers(self._headers)
        if headers.filename is None:
            if len(self._names) >= self._limits.fields:
                raise TooManyFields(limit=self._limits.fields)
            if headers.name in self._names:
                raise MalformedMultipart(problem=f"the field {headers.name} comes twice", field=headers.name, limit=1)
            self._names.add(headers.name)
            self.current = FieldPart(headers.name, self._limits.field_bytes)
        else:
            self._files += 1
            if self._files > self._limits.files:
                raise TooManyFiles(limit=self._limits.files, field=headers.name)
            self.current = self._new_file(headers)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self.current is None:
            raise MalformedMultipart(problem="a part has no headers")
        self.current.feed(memoryview(data)[start:end])

    def _part_ends(self) -> None:
        if self.current is None:
            raise MalformedMultipart(problem="a part has no headers")
        self.ended.append(self.current)
        self.current = None

    def _form_ends(self) -> None:
        self._complete = True


def _part_headers(headers: dict[bytes, bytes]) -> PartHeaders:
    disposition, parameters = parse_options_header(headers.get(b"content-disposition", b""))
    name = parameters.get(b"name", b"").decode(errors="replace")
    if disposition != b"form-data" or not 1 <= len(name) <= _LONGEST_NAME:
        problem = f"a part is not form-data with a name of 1 to {_LONGEST_NAME} characters"
        raise MalformedMultipart(problem=problem, limit=f"1..{_LONGEST_NAME}")
    if headers.get(b"content-transfer-encoding", b"").strip().lower() not in _PLAIN_ENCODINGS:
        raise MalformedMultipart(problem=f"the part {name} is encoded; send its bytes as they are", field=name)
    filename = parameters.get(b"filename")
    if filename is None and b"filename*" in headers.get(b"content-disposition", b"").lower():  # RFC 7578, section 4.2
        raise MalformedMultipart(problem=f'the part {name} says filename*; say filename="…" in UTF-8 instead', field=name)
    media_type, _ = parse_options_header(headers.get(b"content-type", b""))
    declared = media_type.decode("latin-1")
    return PartHeaders(
        name=name,
        filename=None if filename is None else filename.decode(errors="replace"),
        media_type=declared if _MEDIA_TYPE.fullmatch(declared) else "application/octet-stream",
    )


def safe_filename(declared: str) -> str:
    """A file name fit for being stored, shown and sent back: the last part of the path, no control characters, ≤ 255 characters.

    Browsers send quotation marks and line ends as ``%22``, ``%0D`` and ``%0A`` (HTML, multipart/form-data encoding algorithm).
    """
    name = declared.replace("%22", '"').replace("%0D", "").replace("%0A", "")
    name = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    # Category C: control characters, and formatting ones that turn the direction of writing to hide an extension.
    name = "".join(character for character in name if unicodedata.category(character)[0] != "C").strip(" .")
    if len(name) > LONGEST_FILENAME:
        stem, dot, extension = name.rpartition(".")
        kept = f"{dot}{extension}" if stem and len(extension) <= 16 else ""  # noqa: PLR2004 - longer is no extension
        name = name[: LONGEST_FILENAME - len(kept)] + kept
    return name or "file"
