"""Problem documents (RFC 9457): the one form in which every failed request is answered."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from http.client import responses
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket

from trenza.chassis.auth.permissions import InvalidToken, ScopeMissing, SeveralAuthorizations, Unauthenticated
from trenza.chassis.context import current_context
from trenza.chassis.contract import CallFailed, ContractError
from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.http.json_bodies import is_undeclared
from trenza.chassis.http.limits import BodyEncoded, BodyTooLarge
from trenza.chassis.http.phrases import Phrases, preferred_language, say
from trenza.chassis.http.route_templates import allowed_methods
from trenza.chassis.http.validation import field_errors
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["PROBLEM_MEDIA_TYPE", "Problem", "install_problem_handlers", "problem_of", "problem_response", "refuse_handshake"]

PROBLEM_MEDIA_TYPE = "application/problem+json"
_RETRY_SECONDS = 5
"""What Retry-After says where nothing better is known."""
_POLICY_VIOLATION = 1008
_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "BODY_TOO_LARGE",
}

_log = get_logger(__name__)


class Problem(Exception):
    """A failed request, ready to be told: raise it in a route where no `ContractError` fits.

    ``code`` is stable and tells programs what happened; ``title`` and ``detail`` tell people, in English (the catalogue adds
    Spanish, except to a detail given here). ``fields`` become members of the document. ``retry_after`` (seconds) also becomes
    the Retry-After header.
    """

    def __init__(
        self,
        status: int,
        code: str,
        *,
        title: str = "",
        detail: str = "",
        headers: Mapping[str, str] | None = None,
        **fields: JsonValue,
    ) -> None:
        phrase = say(code, "en", fields)
        self.status = status
        self.code = code
        self.title = title or (phrase.title if phrase else responses.get(status, "Request failed"))
        self.detail = detail or (phrase.detail if phrase else self.title)
        self.headers = dict(headers or {})
        self.fields = fields
        self.speaks_for_itself = bool(detail)
        super().__init__(self.detail)


def problem_of(error: Exception) -> Problem:
    """The problem that an error is to its client; what is not recognised is an internal error, about which nothing is said."""
    match error:
        case Problem():
            problem = error
        case ContractError():
            problem = _of_contract_error(error)
        case RequestValidationError() if is_undeclared(error):
            problem = Problem(415, "JSON_EXPECTED", field="Content-Type", limit="application/json")
        case RequestValidationError():
            problem = Problem(422, "INVALID_REQUEST")
        case HTTPException():
            problem = _of_http_exception(error)
        case CallFailed(ran=False):
            problem = Problem(503, "SERVICE_UNAVAILABLE", service=error.service, retry_after=_RETRY_SECONDS)
        case CallFailed():
            problem = Problem(502, "CALL_FAILED", service=error.service)
        case DatabaseUnavailable() | PoolTimeout() | DBAPIError(connection_invalidated=True):
            problem = Problem(503, "DATABASE_UNAVAILABLE", retry_after=_RETRY_SECONDS)
        case _:
            problem = Problem(500, "INTERNAL_ERROR")
    return problem


def problem_response(connection: HTTPConnection, error: Exception) -> Response:
    """The response that tells an error, in the language that the client prefers. Logs what is a fault of this side."""
    problem = problem_of(error)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request failed", code=problem.code, exc_info=error)
    elif problem.status > HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request failed", code=problem.code, status=problem.status, reason=str(error))
    language = preferred_language(connection.headers.get("accept-language", ""))
    said = say(problem.code, language, problem.fields, _phrases(connection))
    phrase = said if language != "en" else None
    document: dict[str, Any] = {
        "type": _type(problem.code),
        "title": phrase.title if phrase else problem.title,
        "status": problem.status,
        "detail": phrase.detail if phrase and not problem.speaks_for_itself else problem.detail,
        "instance": connection.scope["path"],
        "code": problem.code,
        "correlation_id": current_context().correlation_id,
        **({"remedy": said.remedy} if said and said.remedy else {}),
        **problem.fields,
        # A refusal brings its remedy in English.
        **({"remedy": phrase.remedy} if phrase and phrase.remedy else {}),
    }
    if isinstance(error, RequestValidationError) and problem.code == "INVALID_REQUEST":
        document["errors"] = errors = field_errors(error.errors(), language)
        document["field"] = errors[0]["field"]  # there is one at least, and those who show one thing show this
    headers = {"Content-Language": language, "Vary": "Accept-Language", **problem.headers}
    if problem.code == "METHOD_NOT_ALLOWED":
        headers["Allow"] = ", ".join(allowed_methods(connection.scope)) or headers.get("allow", "")
    if "retry_after" in problem.fields:
        headers.setdefault("Retry-After", str(problem.fields["retry_after"]))
    return Response(orjson.dumps(document), problem.status, headers, PROBLEM_MEDIA_TYPE)


def install_problem_handlers(app: FastAPI, phrases: Phrases | None = None) -> None:
    """Answer every error of the application's routes as a problem document.

    ``phrases`` adds the services' own words, by code and language.
    """
    app.state.phrases = phrases
    answer: Any = _answer  # Starlette's type knows handlers of requests or of WebSockets, not of both
    for kind in (
        Problem,
        ContractError,
        RequestValidationError,
        HTTPException,
        CallFailed,
        DatabaseUnavailable,
        PoolTimeout,
        DBAPIError,
        Exception,
    ):
        app.add_exception_handler(kind, answer)


async def _answer(connection: HTTPConnection, error: Exception) -> Response | None:
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.BAD_REQUEST:
        return Response(status_code=error.status_code, headers=error.headers)  # an early answer, not a failed request
    response = problem_response(connection, error)
    if not isinstance(connection, WebSocket):
        return response
    await refuse_handshake(connection, response)
    return None


async def refuse_handshake(socket: WebSocket, response: Response) -> None:
    """A WebSocket that is not open yet is refused with the document where the server can send one, else by closing it."""
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(response)
    else:
        await socket.close(_POLICY_VIOLATION)


def _type(code: str) -> str:
    """A name for the kind of problem; ``about:blank`` where the status says it all (RFC 9457, section 4.2.1)."""
    return "about:blank" if code.startswith("HTTP_") else f"urn:trenza:problem:{code.lower().replace('_', '-')}"


def _of_contract_error(error: ContractError) -> Problem:
    """Its code says all that its detail says, so that the catalogue's words may stand for it."""
    problem = Problem(error.status, error.code, title=error.title, headers=_challenge(error))
    problem.detail, problem.fields = error.detail, dict(error.fields)
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        problem.fields.setdefault("retry_after", _RETRY_SECONDS)
    return problem


def _of_http_exception(error: HTTPException) -> Problem:
    match error:
        case BodyTooLarge():
            return Problem(413, "BODY_TOO_LARGE", headers=error.headers, limit=error.limit)
        case BodyEncoded():
            return Problem(415, "BODY_ENCODED", headers=error.headers, field="Content-Encoding", limit="identity")
    code = _CODES.get(error.status_code, f"HTTP_{error.status_code}")
    own_words = error.detail if error.detail != responses.get(error.status_code) else ""
    return Problem(error.status_code, code, detail=own_words, headers=error.headers)


def _challenge(error: ContractError) -> dict[str, str]:
    """What RFC 6750 (section 3) wants in WWW-Authenticate."""
    match error:
        case ScopeMissing():
            return {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{error.fields["scope"]}"'}
        case SeveralAuthorizations():
            return {"WWW-Authenticate": 'Bearer error="invalid_request"'}
        case InvalidToken():
            return {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        case Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case _:
            return {}


def _phrases(connection: HTTPConnection) -> Phrases | None:
    app = connection.scope.get("app")
    return None if app is None else getattr(app.state, "phrases", None)
