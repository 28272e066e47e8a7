"""The internal route ``POST /_call/{service}/{operation}``, through which other processes call a service."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from trenza.chassis.auth.permissions import public
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.blobs import BlobMissing, BlobsUnavailable
from trenza.chassis.calls.binding import BROKE, NO_TIME_LEFT, TOO_SLOW
from trenza.chassis.calls.large_bodies import BodyTooLarge, LargeBodies
from trenza.chassis.calls.local import bind_local
from trenza.chassis.calls.passports import PassportControl
from trenza.chassis.calls.protocol import (
    BODY,
    CORRELATION_ID,
    DEADLINE,
    MAX_BODY_BYTES,
    OUTCOME,
    TRACEPARENT,
    Outcome,
    TurnedAway,
)
from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.context import Context, current_context, new_correlation_id, use_context, valid_correlation_id
from trenza.chassis.contract import CallFailed, Contract, ContractError, Operation
from trenza.chassis.http.problem import Problem, problem_response
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["call_router"]

C = TypeVar("C", bound=Contract)

_MILLISECONDS = re.compile(r"[0-9]{1,9}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_log = get_logger(__name__)


def call_router(
    implementation: C,
    contract: type[C],
    verifier: TokenVerifier,
    *,
    clock: Clock | None = None,
    large: LargeBodies | None = None,
) -> APIRouter:
    """The internal route of one service. It admits bearers of a passport for this service and nobody else.

    What a caller sees is what the local binding shows it, as the route calls the implementation through one. The outcome stands
    in the header ``Trenza-Outcome``; all but results are problem documents. ``large`` carries what is too large for a request or
    an answer; without it, that is refused.
    """
    router = APIRouter(include_in_schema=False, route_class=_StraightRoute)
    router.add_api_route(
        f"/_call/{contract.service}/{{operation}}",
        _Counter(contract, implementation, verifier, clock or SystemClock(), large or LargeBodies(None)).serve,
        methods=["POST"],
        dependencies=[public("the route itself asks for a passport, which services have; access tokens do not open it")],
        response_model=None,
    )
    return router


class _StraightRoute(APIRoute):
    """Leads to its endpoint without a look at dependencies, of which a call has none that does anything.

    Resolving them takes about as long as the call itself. The permission stays declared, for whoever checks routes.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls for each request."""
        serve = self.endpoint

        async def handle(request: Request) -> Response:
            response: Response = await serve(request, request.path_params["operation"])
            return response

        return handle


class _Counter:
    """Where the calls of one service arrive."""

    def __init__(
        self, contract: type[Contract], implementation: Contract, verifier: TokenVerifier, clock: Clock, large: LargeBodies
    ) -> None:
        self._contract = contract
        self._local = bind_local(contract, implementation)
        self._large = large
        self._control = PassportControl(verifier.keys, audience=contract.service, clock=clock)

    async def serve(self, request: Request, operation: str) -> Response:
        """Carry out one call."""
        correlation_id = valid_correlation_id(request.headers.get(CORRELATION_ID)) or new_correlation_id()
        with use_context(Context(correlation_id=correlation_id)):
            try:
                declared, arguments, context = await self._admit(request, operation, correlation_id)
            except TurnedAway as error:
                problem = Problem(error.status, "CALL_NOT_RUN", detail=error.detail)
                return _answer(request, problem, Outcome.NOT_RUN)
        with use_context(context):
            return await self._carry_out(request, declared, arguments)

    async def _admit(self, request: Request, name: str, correlation_id: str) -> tuple[Operation, dict[str, Any], Context]:
        """Check the passport first, then what is asked. Raises `TurnedAway`."""
        authorization = ", ".join(request.headers.getlist("authorization"))  # several are no passport
        passport = self._control.check(authorization)
        declared = self._contract.operations.get(name)
        if declared is None:
            raise TurnedAway(404, f"{self._contract.service} has no operation {name!r} (any more, or yet).")
        deadline = _deadline(request)
        arguments = _arguments(declared, await self._body(request, deadline))
        trace = request.headers.get(TRACEPARENT, "")
        context = Context(
            correlation_id=correlation_id,
            principal=passport.principal,
            deadline=deadline,
            traceparent=trace if _TRACEPARENT.fullmatch(trace) else None,
        )
        return declared, arguments, context

    async def _carry_out(self, request: Request, declared: Operation, arguments: dict[str, Any]) -> Response:
        """Call the implementation and put what comes of it into an answer."""
        try:
            result = await getattr(self._local, declared.name)(**arguments)
            body = declared.result.pack({"result": result})
        except ContractError as error:
            return _answer(request, error, Outcome.REFUSED)
        except CallFailed as error:
            outcome = {NO_TIME_LEFT: Outcome.NOT_RUN, TOO_SLOW: Outcome.TIMED_OUT}.get(error.reason, Outcome.BROKE)
            return _answer(request, Problem(502, "CALL_FAILED", detail=error.reason), outcome)
        except PydanticSerializationError as error:
            _log.error(
                "call answered what its contract does not promise", operation=declared.function.__qualname__, exc_info=error
            )
            return _answer(request, Problem(502, "CALL_FAILED", detail=BROKE), Outcome.BROKE)
        return await self._result(request, declared, body)

    async def _result(self, request: Request, declared: Operation, body: bytes) -> Response:
        """The answer with a result, or with the claim check of a large one."""
        headers = {OUTCOME: str(Outcome.RESULT)}
        try:
            if self._large.is_large(body):
                async with asyncio.timeout_at(current_context().deadline):
                    headers[BODY], body = await self._large.put(body), b""
        except TimeoutError:
            return _answer(request, Problem(502, "CALL_FAILED", detail=TOO_SLOW), Outcome.TIMED_OUT)
        except (BodyTooLarge, BlobsUnavailable) as error:
            _log.error("result of a call not sent", operation=declared.function.__qualname__, reason=str(error))
            return _answer(request, Problem(502, "CALL_FAILED", detail=BROKE), Outcome.BROKE)
        return Response(body, media_type="application/json", headers=headers)

    async def _body(self, request: Request, deadline: float | None) -> bytes:
        """The arguments, from the request or from where it says that they lie. Raises `TurnedAway`."""
        key = request.headers.get(BODY)
        if key is None:
            return await _body(request)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._large.get(key)
        except TimeoutError as error:
            raise TurnedAway(502, "The arguments were not fetched before the deadline.") from error
        except BlobsUnavailable as error:
            raise TurnedAway(502, f"The arguments were not fetched: {error.detail}") from error
        except (BlobMissing, BodyTooLarge, ValueError) as error:
            raise TurnedAway(400, f"The arguments were not fetched: {error}") from error


def _answer(request: Request, error: ContractError | Problem, outcome: Outcome) -> Response:
    """A problem document with the outcome beside it."""
    response = problem_response(request, error)
    response.headers[OUTCOME] = outcome
    if response.status_code == 401 and outcome is Outcome.NOT_RUN:  # noqa: PLR2004 - RFC 9110 has a 401 name its scheme
        response.headers["www-authenticate"] = "Passport"
    return response


async def _body(request: Request) -> bytes:
    """The whole body. Raises `TurnedAway` as soon as it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TurnedAway(413, f"A call is at most {MAX_BODY_BYTES} bytes; pass the key of an object instead.")
    return bytes(body)


def _arguments(declared: Operation, body: bytes) -> dict[str, Any]:
    """The arguments in a body, checked, with the contract's defaults. Raises `TurnedAway`."""
    try:
        return declared.arguments(declared.parameters.unpack(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise TurnedAway(422, f"{declared.name}: {where}: {first['msg']}") from error


def _deadline(request: Request) -> float | None:
    """The caller's deadline in this loop's time. Raises `TurnedAway`."""
    milliseconds = request.headers.get(DEADLINE)
    if milliseconds is None:
        return None
    if not _MILLISECONDS.fullmatch(milliseconds):
        raise TurnedAway(400, f"{DEADLINE} is {milliseconds!r}; send whole milliseconds.")
    return asyncio.get_running_loop().time() + int(milliseconds) / 1000
