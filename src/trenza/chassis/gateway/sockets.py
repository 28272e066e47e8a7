"""WebSocket connections at the door: who may open one, which replica it goes to, and how its refusal is told."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from trenza.chassis.context import Context, new_correlation_id, use_context
from trenza.chassis.gateway.dispatch import Plan
from trenza.chassis.gateway.figures import IN_FLIGHT, RETRIES
from trenza.chassis.gateway.proxy import Proxy
from trenza.chassis.gateway.requests import RequestHead
from trenza.chassis.gateway.websockets import Refused, open_upstream, pass_messages
from trenza.chassis.http.problem import Problem, problem_response, refuse_handshake
from trenza.chassis.peers import BreakerOpen, Replica, Use
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["Sockets"]

_RETRY_SECONDS: Final = 5
_SWITCHING: Final = 101

_log = get_logger("trenza.access")


class Sockets:
    """Passes WebSockets through to services elsewhere.

    Browsers let any page open one, with the user's cookies (RFC 6455, section 10.2): a page must be of this host, of the public
    address, or of the origins that ``CORS_ORIGINS`` names. Other clients send no Origin.
    """

    def __init__(self, settings: PlatformSettings) -> None:
        public = urlsplit(settings.public_url)
        self._origins = frozenset((f"{public.scheme}://{public.netloc}", *settings.cors_origins))

    async def serve(self, plan: Plan | Exception, head: RequestHead | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, from its handshake to its close."""
        context = Context(
            correlation_id=new_correlation_id() if head is None else head.correlation_id,
            traceparent=None if head is None else head.traceparent,
        )
        with use_context(context):
            status = _SWITCHING
            try:
                await self._connect(*self._admitted(plan, head, scope), scope, receive, send)
            except Refused as refused:
                status = refused.status
                await _refuse(scope, receive, send, _copied(refused))
            except Exception as error:  # noqa: BLE001 - told as a problem document, as for any other request
                response = problem_response(HTTPConnection(scope), error)
                status = response.status_code
                response.headers["X-Correlation-ID"] = context.correlation_id
                await _refuse(scope, receive, send, response)
            _log.info(
                "websocket", endpoint=plan.endpoint if isinstance(plan, Plan) else "(none)", path=scope["path"], status=status
            )

    def _admitted(self, plan: Plan | Exception, head: RequestHead | None, scope: Scope) -> tuple[Proxy, bytes, RequestHead]:
        """Where the connection goes, what it asks for, and its head. Raises what it was refused for."""
        if isinstance(plan, Exception):
            raise plan
        if head is None or plan.proxy is None:
            raise RuntimeError("a plan for a WebSocket has no proxy")
        query = scope.get("query_string", b"")
        return plan.proxy, b"%s?%s" % (plan.target, query) if query else plan.target, head

    def check_origin(self, scope: Scope, head: RequestHead) -> None:
        """Refuse the pages of others, wherever the service is. Raises `Problem` (403)."""
        sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if not sent or "*" in self._origins:
            return
        origin = ", ".join(sent)
        if origin not in self._origins and urlsplit(origin).netloc.lower() != head.host.decode("latin-1").lower():
            raise Problem(403, "ORIGIN_NOT_ALLOWED", origin=origin)

    async def _connect(  # noqa: PLR0917 - a connection's three, as everywhere, after what it is about
        self, proxy: Proxy, address: bytes, head: RequestHead, scope: Scope, receive: Receive, send: Send
    ) -> None:
        upstream, use = await self._open(proxy, address, head, scope)
        IN_FLIGHT.labels(proxy.service).inc()
        try:
            if (await receive())["type"] != "websocket.connect":
                await upstream.close()
                return
            answer = upstream.response
            headers = [] if answer is None else [(n, v) for n, v in answer.headers.raw_items() if n.lower() == "set-cookie"]
            raw = [(b"x-correlation-id", head.correlation_id.encode())]
            raw += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            await send({"type": "websocket.accept", "subprotocol": upstream.subprotocol, "headers": raw})
            await pass_messages(upstream, receive, send)
        finally:
            IN_FLIGHT.labels(proxy.service).dec()
            use.__exit__(None, None, None)
            await upstream.close()

    async def _open(self, proxy: Proxy, address: bytes, head: RequestHead, scope: Scope) -> tuple[Any, Use]:
        """A WebSocket to a replica that takes it, and the replica's use, which is entered."""
        tried: list[Replica] = []
        try:
            attempt = proxy.breaker.attempt()
        except BreakerOpen as error:
            raise Problem(503, "SERVICE_UNAVAILABLE", service=proxy.service, retry_after=_RETRY_SECONDS) from error
        with attempt:
            while True:
                use = proxy.upstream.replicas.use(avoid=tried)
                use.__enter__()
                try:
                    opened = await open_upstream(
                        use.replica,
                        head,
                        address,
                        list(scope.get("subprotocols", ())),
                        service=proxy.service,
                        tls=proxy.upstream.tls,
                    )
                except OSError as error:
                    use.failed()
                    use.__exit__(None, None, None)
                    tried.append(use.replica)
                    if len(tried) == len(proxy.upstream.replicas.all):
                        attempt.failed()
                        raise Problem(503, "SERVICE_UNAVAILABLE", service=proxy.service, retry_after=_RETRY_SECONDS) from error
                    RETRIES.labels(proxy.service, "not_sent").inc()
                except BaseException:
                    use.__exit__(None, None, None)
                    raise
                else:
                    use.answered()
                    attempt.succeeded()
                    return opened, use


def _copied(refused: Refused) -> Response:
    response = Response(refused.body, refused.status)
    response.raw_headers = [*refused.headers, (b"content-length", str(len(refused.body)).encode())]
    return response


async def _refuse(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    await refuse_handshake(WebSocket(scope, receive, send), response)
