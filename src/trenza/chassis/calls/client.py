"""The wire binding: a contract whose operations are calls to another process."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json

from trenza.chassis.blobs import BlobMissing, BlobsUnavailable
from trenza.chassis.calls.binding import BROKE, TOO_SLOW, Invoke, bind_with, bounded_context, failed
from trenza.chassis.calls.large_bodies import BodyTooLarge, LargeBodies
from trenza.chassis.calls.passports import Passports
from trenza.chassis.calls.protocol import BODY, CORRELATION_ID, DEADLINE, OUTCOME, TRACEPARENT, Outcome, call_path
from trenza.chassis.calls.transport import Answer, Transport, TransportFailed
from trenza.chassis.context import Context, current_context
from trenza.chassis.contract import PROBLEM_MEMBERS, CallFailed, Contract, ContractError, Operation
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["bind_wire"]

C = TypeVar("C", bound=Contract)

_OK = 200
_GRACE_SECONDS = 0.05
"""How much later than the transport the client looks at the clock. It learns of a time-out as such, not of a cancellation."""

_log = get_logger(__name__)


def bind_wire(contract: type[C], transport: Transport, passports: Passports, *, large: LargeBodies | None = None) -> C:
    """The contract as others see it, carried out by the process that ``transport`` leads to.

    The caller's identity, deadline, correlation id and trace travel along. Declared errors come back with their type, detail and
    fields; everything else is `CallFailed`. Arguments that their annotations do not admit raise `TypeError` before anything is
    sent. ``large`` carries what is too large for a request; without it, that fails.
    """

    def invoke(declared: Operation) -> Invoke:
        return _Call(contract, declared, transport, passports, large or LargeBodies(None))

    return bind_with(contract, "Remote", invoke)


class _Call:
    """One operation over the wire."""

    def __init__(
        self, contract: type[Contract], declared: Operation, transport: Transport, passports: Passports, large: LargeBodies
    ) -> None:
        self._contract = contract
        self._declared = declared
        self._transport = transport
        self._passports = passports
        self._large = large
        self._path = call_path(contract.service, declared.name)

    async def __call__(self, arguments: dict[str, Any]) -> Any:
        context, deadline = bounded_context(current_context(), self._contract, self._declared)
        answer = await self._carried(self._body(arguments), context, deadline)
        try:
            outcome = answer.headers.get(OUTCOME)
            if outcome == Outcome.RESULT and answer.status == _OK:
                return self._declared.result.unpack(answer.body)["result"]
            problem = from_json(answer.body) if outcome is not None else {}
            self._raise(answer.status, outcome, problem if isinstance(problem, dict) else {})
        except (ValidationError, ValueError) as error:
            self._fail("it answered what its contract does not promise", cause=error)

    def _body(self, arguments: dict[str, Any]) -> bytes:
        """The arguments as JSON."""
        try:
            return self._declared.parameters.pack(arguments)
        except PydanticSerializationError as error:
            raise TypeError(f"{self._declared.function.__qualname__}(): an argument is not what is annotated: {error}") from error

    async def _carried(self, body: bytes, context: Context, deadline: float) -> Answer:
        """The answer with its whole body, whichever way the two bodies travel."""
        try:
            if not self._large.is_large(body):
                return await self._post(body, self._headers(context, deadline), deadline)
            async with asyncio.timeout_at(deadline):
                key = await self._large.put(body)
        except (BodyTooLarge, BlobsUnavailable) as error:
            self._fail(f"its arguments were not sent: {error}", ran=False, cause=error)
        except TimeoutError as error:
            self._fail("its arguments were not stored in time", ran=False, cause=error)
        try:
            return await self._post(b"", {**self._headers(context, deadline), BODY: key}, deadline)
        finally:
            await self._large.remove(key)

    async def _fetched(self, answer: Answer, deadline: float) -> Answer:
        """The answer with the body that its claim check stands for."""
        key = answer.headers.get(BODY)
        if key is None:
            return answer
        try:
            async with asyncio.timeout_at(deadline + _GRACE_SECONDS):
                return answer._replace(body=await self._large.get(key))
        except TimeoutError as error:
            self._fail(TOO_SLOW, cause=error)
        except (BlobMissing, BlobsUnavailable, BodyTooLarge, ValueError) as error:
            self._fail(f"its result was not fetched: {error}", cause=error)
        finally:
            await self._large.remove(key)

    def _headers(self, context: Context, deadline: float) -> dict[str, str]:
        remaining = deadline - asyncio.get_running_loop().time()
        headers = {
            "authorization": self._passports.header(self._contract.service, context.principal),
            "content-type": "application/json",
            CORRELATION_ID: context.correlation_id,
            DEADLINE: str(max(1, int(remaining * 1000))),
        }
        if context.traceparent is not None:
            headers[TRACEPARENT] = context.traceparent
        return headers

    async def _post(self, body: bytes, headers: dict[str, str], deadline: float) -> Answer:
        """The answer of the other process, or `CallFailed`."""
        timeout = deadline - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(deadline + _GRACE_SECONDS):
                answer = await self._transport.post(self._path, headers, body, timeout, idempotent=self._declared.idempotent)
        except TransportFailed as error:
            self._fail(error.reason, ran=None if error.sent else False, cause=error)
        except TimeoutError as error:
            self._fail(TOO_SLOW, cause=error)
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the caller sees the one promised type
            _log.exception("transport broke", callee=self._contract.service, operation=self._declared.name)
            self._fail("the connection to it broke", cause=error)
        return await self._fetched(answer, deadline)

    def _raise(self, status: int, outcome: str | None, problem: dict[str, Any]) -> NoReturn:
        """Raise what the other process answered instead of a result."""
        if outcome == Outcome.REFUSED:
            raise self._refusal(problem)
        if outcome == Outcome.NOT_RUN:
            self._fail(str(problem.get("detail", "it was not reached")), ran=False)
        if outcome == Outcome.TIMED_OUT:
            self._fail(TOO_SLOW)
        self._fail(BROKE if outcome == Outcome.BROKE else f"it answered HTTP {status} without an outcome")

    def _refusal(self, problem: dict[str, Any]) -> ContractError:
        """The declared error that a problem document stands for, or `CallFailed` for one that only the other side knows."""
        code = str(problem.get("code"))
        kind = self._declared.error_by_code.get(code)
        if kind is None:
            self._fail(f"it refused with {code}, which the contract on this side does not declare")
        return kind(str(problem.get("detail", "")), **{k: v for k, v in problem.items() if k not in PROBLEM_MEMBERS})

    def _fail(self, reason: str, *, ran: bool | None = None, cause: Exception | None = None) -> NoReturn:
        """Log and raise `CallFailed`."""
        _log.warning("call failed", callee=self._contract.service, operation=self._declared.name, reason=reason, ran=ran)
        failure: CallFailed = failed(self._contract, self._declared, reason, ran=ran)
        raise failure from cause
