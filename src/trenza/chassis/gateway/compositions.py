"""Answers that are composed of several services' answers, one request for all that a page shows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from starlette.types import ASGIApp, Message, Scope

from trenza.chassis.gateway.declarations import Composition
from trenza.chassis.http.problem import PROBLEM_MEDIA_TYPE
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["PART", "Compositions", "NoBody"]

PART: Final = "trenza.part"
"""The key of an ASGI scope that marks a request as a part of a composition, which no line of the access log tells of."""

_MOST_BYTES: Final = 1024 * 1024
"""The most that one part may have; a composition is held in memory."""
_FORWARDED: Final = frozenset(
    (
        *(b"authorization", b"accept-language", b"cookie", b"host", b"x-correlation-id", b"traceparent", b"tracestate"),
        *(b"x-forwarded-for", b"x-forwarded-proto", b"user-agent"),
    )
)
"""What of the caller's request goes along with every part: who asks, in which language, under which id."""
_LAST_SUCCESS: Final = 299
_OK: Final = 200

_log = get_logger(__name__)


class Compositions:
    """Finds the composition of a path and carries it out through ``app``, the gateway itself."""

    def __init__(self, declared: Sequence[Composition], app: ASGIApp) -> None:
        self._app = app
        self._exact = {each.path.encode(): each for each in declared if "{" not in each.path}
        self._patterns = [(_pattern(each.path), each) for each in declared if "{" in each.path]

    def find(self, raw_path: bytes) -> tuple[Composition, dict[str, str]] | None:
        """The composition that answers at a path as it stands in the request line, and what its places stand for."""
        if (exact := self._exact.get(raw_path)) is not None:
            return exact, {}
        for pattern, composition in self._patterns:
            if (match := pattern.fullmatch(raw_path)) is not None:
                return composition, {name: value.decode("latin-1") for name, value in match.groupdict().items()}
        return None

    async def compose(self, composition: Composition, places: Mapping[str, str], scope: Scope) -> dict[str, Any]:
        """Every part's JSON, None for those that failed, whose problems stand under ``problems``."""
        paths = [_PLACE.sub(lambda match: places[match[1]], path) for path in composition.parts.values()]
        answers = await asyncio.gather(*(self._part(scope, path, composition.seconds) for path in paths))
        document: dict[str, Any] = {}
        problems: dict[str, Any] = {}
        for name, (value, problem) in zip(composition.parts, answers, strict=True):
            document[name] = value
            if problem is not None:
                problems[name] = problem
        return {**document, "problems": problems}

    async def _part(self, scope: Scope, path: str, seconds: float) -> tuple[Any, dict[str, Any] | None]:
        answer = _Answer()
        try:
            async with asyncio.timeout(seconds):
                await self._app(_part_scope(scope, path), NoBody(), answer.take)
        except TimeoutError:
            return None, {"status": 504, "code": "UPSTREAM_TIMEOUT", "detail": f"No answer within {seconds:g} s."}
        except _TooLarge:
            return None, {"status": 502, "code": "PART_TOO_LARGE", "detail": f"More than {_MOST_BYTES} bytes."}
        except Exception as error:  # noqa: BLE001 - whatever breaks one part, the others are answered
            _log.warning("part failed", path=path, reason=repr(error))
            return None, {"status": 502, "code": "UPSTREAM_FAILED", "detail": "The connection broke."}
        return answer.judged()


class _TooLarge(Exception):
    """A part has more bytes than fit."""


class _Answer:
    """Takes the messages of an ASGI application as the answer to one request."""

    def __init__(self) -> None:
        self._status = 0
        self._media_type = ""
        self._body = bytearray()

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._media_type = next((v.decode("latin-1") for n, v in message["headers"] if n.lower() == b"content-type"), "")
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if len(self._body) > _MOST_BYTES:
                raise _TooLarge

    def judged(self) -> tuple[Any, dict[str, Any] | None]:
        """The JSON, or None and what went wrong."""
        try:
            value = orjson.loads(self._body)
        except orjson.JSONDecodeError:
            value = None
            if _OK <= self._status <= _LAST_SUCCESS:
                return None, {"status": 502, "code": "UPSTREAM_FAILED", "detail": "The answer is no JSON."}
        if _OK <= self._status <= _LAST_SUCCESS:
            return value, None
        if self._media_type.startswith(PROBLEM_MEDIA_TYPE) and isinstance(value, dict):
            return None, value
        return None, {"status": self._status, "code": f"HTTP_{self._status}", "detail": "The service refused."}


_PLACE: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def _pattern(path: str) -> re.Pattern[bytes]:
    """What a path with places matches; a place is one segment that nobody can read as several."""
    parts = _PLACE.split(path)
    written = "".join(
        re.escape(part) if index % 2 == 0 else f"(?P<{part}>[A-Za-z0-9_~-][A-Za-z0-9._~-]*)" for index, part in enumerate(parts)
    )
    return re.compile(written.encode())


def _part_scope(scope: Scope, path: str) -> Scope:
    """The request for a part, as the gateway would get it from the caller."""
    plain, _, query = path.partition("?")
    headers = [(name, value) for name, value in scope["headers"] if name in _FORWARDED]
    return {
        "type": "http",
        "asgi": scope["asgi"],
        "http_version": "1.1",
        "method": "GET",
        "scheme": scope.get("scheme", "http"),
        "path": plain,
        "raw_path": plain.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [*headers, (b"accept", b"application/json")],
        "client": scope.get("client"),
        "server": scope.get("server"),
        "state": dict(scope.get("state", {})),
        PART: True,
    }


class NoBody:
    """The receiving side of a request without a body, whose client stays until the answer is there."""

    def __init__(self) -> None:
        self._told = False

    async def __call__(self) -> Message:
        """The one message that there is; then nothing."""
        if not self._told:
            self._told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.get_running_loop().create_future()  # nothing sets it: the part's time-out ends the wait
        raise RuntimeError("a future that nobody knows was set")
