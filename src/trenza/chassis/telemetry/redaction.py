"""What must never stand in a log line, and its removal from anything that is about to be logged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

__all__ = ["MASK", "redact", "redact_text"]

MASK = "[redacted]"
MAX_DEPTH = 8
MAX_ITEMS = 200
MAX_TEXT = 32_768
"""Characters of one value: a long traceback fits, the content of a file does not."""

# Words that make the name of a field, header, parameter or variable one of a secret, whatever stands around them.
_TELLING = (
    r"pass(?:word|wd|phrase|code)|secret|token|authorization|(?:api|access|private|signing)[-_ ]?key|cookie|credential"
    r"|signature|\bsig\b|\bjwt\b|\bpwd\b"
)
_PROSE = r"(?-i:(?:(?<=Error:\ )|(?<=Exception:\ ))[A-Z][a-z]{0,15}\ [a-z]{1,15}\b)"
"""What follows the name of an exception, such as ``NoCredentialsError: Unable to locate credentials``: a sentence, no value."""
_TELLING_NAME = re.compile(_TELLING, re.IGNORECASE)
_QUICK = re.compile(rf"{_TELLING}|bearer|basic|ey[JK]|://|PRIVATE KEY", re.IGNORECASE)
"""Most strings hold none of this and are passed through after one look."""

_SUBSTITUTIONS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A PEM block, however its lines are written.
    (re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
    # Header lines, whose value goes on to the end of the line: Authorization: Digest a=b, c=d
    (re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie)(['\"]?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE), rf"\1\2{MASK}"),
    # name=value, name: value, 'name': 'value', "name": "value", as in queries, URLs, JSON and the repr of objects.
    (
        re.compile(
            rf"""([\w.-]{{0,40}}(?:{_TELLING})[\w.\]-]{{0,40}}['"]?\s{{0,3}}(?:=|:(?!//))\s{{0,3}})(?!{_PROSE})"""
            r"""(?:[A-Za-z]{0,20}\(?b?'(?:[^'\\]|\\.)*'|[A-Za-z]{0,20}\(?b?"(?:[^"\\]|\\.)*"|\[[^]]*\]|\{[^}]*\}|\([^)]*\)"""
            r"""|[^\s&;,'"<>)}\]]+)""",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    # ('name', 'value') and (b'name', b'value'), as in the repr of header lists.
    (
        re.compile(
            rf"""(['"][\w.-]{{0,40}}(?:{_TELLING})[\w.-]{{0,40}}['"]\s{{0,3}},\s{{0,3}})(?:b?'(?:[^'\\]|\\.)*'|b?"(?:[^"\\]|\\.)*")""",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(bearer|basic)(\s+|%20|\+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE), rf"\1 {MASK}"),
    # A JSON Web Token: the base64url of {" begins with eyJ.
    (re.compile(r"\bey[JK][A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*\.?[A-Za-z0-9_-]*"), MASK),
    # scheme://user:password@host,
    # and up to the last @, for people write passwords with a bare @ or / in them.
    (re.compile(r"(://[^\s/:@]{0,200}:)[^\s]{1,400}@"), rf"\1{MASK}@"),
)

_SPEAKING = (UUID, PurePath, datetime, date, time, timedelta, Decimal)


def redact(value: Any, *, depth: int = MAX_DEPTH) -> Any:
    """A copy of the value, fit for JSON, in which secrets are masked and bytes are counted, not shown.

    A secret is the value under a telling name (``password``, ``X-Api-Key``, …), at any depth, in mappings, dataclasses, models
    and (name, value) pairs such as header lists; and inside strings, what `redact_text` finds. Other objects become their
    redacted repr.
    """
    match value:
        case str():
            return redact_text(str.__str__(value))
        case bool() | int() | float() | None:
            return value
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case _:
            return _redact_whole(value, depth - 1) if depth else "…"


def _redact_whole(value: Any, depth: int) -> Any:
    """What has parts, and objects that have only a repr."""
    if (parts := _named_parts(value)) is not None:
        shown = {}
        for key, item in islice(parts.items(), MAX_ITEMS):
            name, telling = _judge_name(key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key))
            shown[name] = MASK if telling else redact(item, depth=depth)
        return shown
    if _is_telling_pair(value):
        return [redact(value[0], depth=0), MASK]
    if isinstance(value, Sequence | AbstractSet):
        return [redact(item, depth=depth) for item in islice(value, MAX_ITEMS)]
    return redact_text(str(value) if isinstance(value, _SPEAKING) else _repr(value))


def _named_parts(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, BaseModel):
        return {**value.__dict__, **(value.__pydantic_extra__ or {})}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in fields(value)}
    return None


def redact_text(text: str) -> str:
    """The text with what looks like a secret masked: tokens, keys, ``signature=…`` and the like, passwords in URLs."""
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}… ({len(text)} characters)"
    if _QUICK.search(text) is None:
        return text
    for pattern, replacement in _SUBSTITUTIONS:
        text = pattern.sub(replacement, text)
    return text


def _is_telling_pair(value: Any) -> bool:
    match value:
        case (str() as name, _):
            return _judge_name(name)[1]
        case (bytes() as name, _):
            return _judge_name(name.decode("utf-8", "replace"))[1]
        case _:
            return False


@lru_cache(maxsize=4096)
def _judge_name(name: str) -> tuple[str, bool]:
    """The name as it may be shown, and whether it is one of a secret. Kept, for the same few names come with every line."""
    return redact_text(name), _TELLING_NAME.search(name) is not None


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a broken __repr__ must not break what logs it
        return f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
