"""Relays requests to one service: picks a replica, asks another where that is safe, and passes the answer on as it comes."""

from __future__ import annotations

import math
import ssl
import time
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from trenza.chassis.gateway.answers import AnswerHeaders
from trenza.chassis.gateway.bodies import RequestBody
from trenza.chassis.gateway.budget import RetryBudget
from trenza.chassis.gateway.exchange import Exchange
from trenza.chassis.gateway.figures import IN_FLIGHT, RETRIES, UPSTREAM_SECONDS
from trenza.chassis.gateway.requests import RequestHead
from trenza.chassis.gateway.settings import GatewaySettings
from trenza.chassis.gateway.upstream import ClientGone, NotSent, Upstream, UpstreamBroke, UpstreamConnection, UpstreamSlow
from trenza.chassis.http.limits import BodyTooLarge
from trenza.chassis.http.problem import Problem
from trenza.chassis.peers import Breaker, BreakerOpen, PeerLimits, Replica, Use
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["AnswerCutShort", "Proxy"]

_UNAVAILABLE: Final = 503
_RETRY_SECONDS: Final = 5
_WORTH_READING: Final = 256 * 1024
"""Bytes. What is left of a body that nobody reads costs more beyond this than a new connection."""

_log = get_logger(__name__)


class AnswerCutShort(Exception):
    """An upstream broke off in the middle of an answer: the server cuts the client off, so that nobody takes it for whole."""


class Proxy:
    """The way to one service. ``own`` is False for a legacy upstream, whose answers are passed on without headers of ours."""

    def __init__(
        self,
        service: str,
        urls: tuple[str, ...],
        *,
        settings: GatewaySettings,
        limits: PeerLimits,
        headers: AnswerHeaders,
        tls: ssl.SSLContext | None = None,
        own: bool = True,
    ) -> None:
        self.service, self.own = service, own
        self.upstream = Upstream(service, urls, connect_seconds=settings.connect_seconds, tls=tls)
        self.breaker = Breaker(f"gateway:{service}", limits)
        self.in_flight = 0
        self._settings, self._headers = settings, headers
        self._budget = RetryBudget()
        self._gauge, self._seconds = IN_FLIGHT.labels(service), UPSTREAM_SECONDS.labels(service)

    async def relay(self, scope: Scope, receive: Receive, send: Send, head: RequestHead, target: bytes) -> None:
        """Answer a request from the service. ``target`` is the path and query that it is asked for.

        Raises before the answer has begun `Problem`, `BodyTooLarge` or `ClientGone`, and after that `AnswerCutShort`.
        """
        if self.in_flight >= self._settings.concurrency:
            raise self._unavailable(1)
        if head.length is not None and head.length > self._settings.max_body_bytes:
            raise BodyTooLarge(self._settings.max_body_bytes)
        keep = self._settings.replay_bytes if head.repeatable else 0
        body = RequestBody(receive, expected=head.has_body, limit=self._settings.max_body_bytes, keep=keep)
        timing = self._settings
        exchange = Exchange(head, body, answer_seconds=timing.answer_seconds, idle_seconds=timing.idle_seconds)
        self.in_flight += 1
        self._gauge.inc()
        use: Use | None = None
        try:
            first = await body.first() if head.has_body and not head.expects_continue else b""
            use = await self._reach(exchange, head.encode(target), first)
            await self._pass_on(exchange, use.replica, scope, send)
        finally:
            self.in_flight -= 1
            self._gauge.dec()
            if use is not None:
                await self._let_go(exchange, use.replica)
                use.__exit__(None, None, None)
            await exchange.close()

    def close(self) -> None:
        """Close idle connections."""
        self.upstream.close()

    def state(self) -> dict[str, Any]:
        """The ``service``, its ``breaker`` (``closed``, ``half-open``, ``open``), requests ``in_flight``, and ``replicas``."""
        return {
            "service": self.service,
            "breaker": str(self.breaker.state),
            "in_flight": self.in_flight,
            "replicas": self.upstream.replicas.states(),
        }

    async def _reach(self, exchange: Exchange, head: bytes, first: bytes) -> Use:
        """Ask replicas until one begins to answer; returns its use, which is entered."""
        try:
            attempt = self.breaker.attempt()
        except BreakerOpen as error:
            raise self._unavailable(max(1, math.ceil(error.retry_in))) from error
        began = time.perf_counter()
        self._budget.asked()
        with attempt:
            try:
                use = await self._ask_in_turn(exchange, head, first)
            except UpstreamBroke as error:
                # One replica of several that breaks is that replica's failure, not the service's.
                if isinstance(error, UpstreamSlow) or all(replica.failures for replica in self.upstream.replicas.all):
                    attempt.failed()
                raise self._problem(error) from error
            attempt.succeeded()
        self._seconds.observe(time.perf_counter() - began)
        return use

    async def _ask_in_turn(self, exchange: Exchange, head: bytes, first: bytes) -> Use:
        tried: list[Replica] = []
        fresh = False
        while True:
            use = self.upstream.replicas.use(avoid=tried)
            replica = use.replica
            use.__enter__()
            try:
                connection = (None if fresh else self.upstream.kept(replica)) or await self.upstream.connect(replica)
                await exchange.ask(connection, head, first)
                if connection.status != _UNAVAILABLE or not self._may_ask_again(exchange, [*tried, replica]):
                    use.answered()
                    return use
                reason = "unready"
                await self._let_go(exchange, replica)
                tried.append(replica)
            except UpstreamBroke as error:
                stale = self._is_stale(exchange.connection)
                await exchange.leave()
                if not stale:
                    use.failed()
                    tried.append(replica)
                reason = "not_sent" if isinstance(error, NotSent) else "broken"
                if not self._go_on(exchange, error, tried, stale=stale):
                    use.__exit__(None, None, None)
                    raise
                fresh = stale
            except BaseException:
                await exchange.leave()
                use.__exit__(None, None, None)
                raise
            use.__exit__(None, None, None)
            RETRIES.labels(self.service, reason).inc()

    def _go_on(self, exchange: Exchange, error: UpstreamBroke, tried: list[Replica], *, stale: bool) -> bool:
        """Whether the request may be asked again after this."""
        if isinstance(error, UpstreamSlow):
            return False  # another one would double the client's wait, and the slow one may still be at work
        if isinstance(error, NotSent):
            return len(tried) < len(self.upstream.replicas.all)
        if stale:  # the replica closed a connection that it had kept, while the request was on its way
            return exchange.head.repeatable and exchange.body.replayable and self._budget.spend()
        return self._may_ask_again(exchange, tried)

    def _may_ask_again(self, exchange: Exchange, tried: list[Replica]) -> bool:
        """Whether there is another replica to ask, and asking twice changes nothing (RFC 9110, section 9.2.2)."""
        others = len(tried) < len(self.upstream.replicas.all)
        return others and exchange.head.repeatable and exchange.body.replayable and self._budget.spend()

    @staticmethod
    def _is_stale(connection: UpstreamConnection | None) -> bool:
        return connection is not None and connection.used and not connection.answering

    async def _let_go(self, exchange: Exchange, replica: Replica) -> None:
        connection = exchange.connection
        if connection is not None and await exchange.leave():
            self.upstream.give_back(replica, connection)

    async def _pass_on(self, exchange: Exchange, replica: Replica, scope: Scope, send: Send) -> None:
        """The answer, as fast as the client takes it."""
        connection = exchange.connection
        if connection is None:
            raise RuntimeError("the exchange has no connection")
        headers = self._headers.passed_on(
            connection.status,
            connection.headers,
            correlation_id=exchange.head.correlation_id.encode(),
            path=scope["path"],
            upstream=replica.url,
            own=self.own,
        )
        if connection.says_close:
            self.upstream.leave(replica)
        if not exchange.body.complete and self._much_is_unread(exchange):
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": connection.status, "headers": headers})
        try:
            while True:
                data = await connection.read()
                if connection.complete and not connection.waits_for_reader:
                    await send({"type": "http.response.body", "body": data, "more_body": False})
                    return
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except UpstreamBroke as error:
            _log.warning("answer cut short", upstream=self.service, reason=str(error))
            raise AnswerCutShort(f"{self.service} broke off its answer") from None
        except ClientGone:
            return  # the access log has the status that it was answered with

    @staticmethod
    def _much_is_unread(exchange: Exchange) -> bool:
        length = exchange.head.length
        return length is None or length - exchange.body.received > _WORTH_READING

    def _unavailable(self, seconds: int) -> Problem:
        return Problem(503, "SERVICE_UNAVAILABLE", service=self.service, retry_after=seconds)

    def _problem(self, error: UpstreamBroke) -> Problem:
        _log.warning("upstream failed", upstream=self.service, reason=str(error))
        if isinstance(error, UpstreamSlow):
            return Problem(504, "UPSTREAM_TIMEOUT", service=self.service, seconds=error.seconds)
        if isinstance(error, NotSent):
            if error.seconds is not None:
                return Problem(504, "UPSTREAM_TIMEOUT", service=self.service, seconds=error.seconds)
            return self._unavailable(_RETRY_SECONDS)
        return Problem(502, "UPSTREAM_FAILED", service=self.service)
