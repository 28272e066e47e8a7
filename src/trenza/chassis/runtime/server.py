"""Serving an application over HTTP: binding the port, running uvicorn, and the bounded drain when asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import uvicorn

from trenza.chassis.runtime.backlog import queued_connections, refuse_new_connections
from trenza.chassis.runtime.connections import BoundedHttpProtocol
from trenza.chassis.runtime.readiness import Readiness
from trenza.chassis.settings import CannotStart

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["AddressUnusable", "bind", "serve"]

KEEP_ALIVE_SECONDS = 75
"""Idle time of a connection: longer than the 60 s that load balancers commonly keep theirs, so that they close first."""

CLOSING_GRACE_SECONDS = 1.0
"""How long connections without a request live on while draining: their next answer says ``Connection: close``."""

QUEUE_SECONDS = 2.0
"""How long at most connections that the kernel has accepted already are taken from its queue before the listener is closed."""

_TICK_SECONDS = 1.0
_TURN_SECONDS = 0.01

FORCED_EXIT_CODE = 130
"""128 + SIGINT: what shells report for an interrupted command."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
log = logging.getLogger(__name__)


class AddressUnusable(CannotStart):
    """The address to listen on is taken or does not exist here."""


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket bound to the address, not yet listening. Port 0 chooses a free one. Raises `AddressUnusable`.

    Several processes may listen at a ``shared`` address; the kernel gives each connection to one of them.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressUnusable(f"cannot listen on {host}: {error.strerror}; name an address of this machine with --host") from None
    try:
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        elif port:
            _refuse_taken(bound, address)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _unusable(error, host, port) from None
    return bound


def _refuse_taken(like: socket.socket, address: Any) -> None:
    """Listen for a moment: Linux lets two sockets bind to one port until one listens, which would show only after the boot."""
    with socket.socket(like.family, like.type, like.proto) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)


def _unusable(error: OSError, host: str, port: int) -> AddressUnusable:
    if error.errno == errno.EADDRINUSE:
        return AddressUnusable(f"port {port} on {host} is in use: stop what uses it, or choose another (--port, or its url)")
    if error.errno in (errno.EACCES, errno.EPERM):
        return AddressUnusable(f"port {port} on {host} may not be opened by this user: choose one above 1023 with --port")
    return AddressUnusable(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --host and --port")


def serve(
    app: FastAPI,
    bound: socket.socket,
    *,
    unready_seconds: float = 0.0,
    on_started: Callable[[], None],
    tls: Mapping[str, Any] | None = None,
) -> int:
    """Run the application until SIGTERM or SIGINT, drain, and return the exit code: 0, or 130 when a second signal forced it.

    What is served is ``app.state.entrance``, or else the application itself; ``app.state.readiness`` is told when to drain.
    ``on_started`` is called once requests are answered. ``tls`` are uvicorn's arguments for TLS: see
    `trenza.chassis.peers.server_tls`.
    """
    return asyncio.Runner(loop_factory=_new_event_loop).run(_serve(app, bound, unready_seconds, on_started, tls or {}))


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - it does not exist on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _serve(
    app: FastAPI, bound: socket.socket, unready_seconds: float, on_started: Callable[[], None], tls: Mapping[str, Any]
) -> int:
    readiness: Readiness = app.state.readiness
    config = uvicorn.Config(
        _ClosingWhileDraining(getattr(app.state, "entrance", app), readiness),
        http=BoundedHttpProtocol,
        lifespan="off",  # run below, so that what goes wrong in it reaches the caller as it is
        log_config=None,
        log_level="warning",  # our own lines tell of starts and stops
        access_log=False,  # the application's own middleware writes it
        proxy_headers=False,  # an address is believed only from a proxy that somebody has configured
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        **tls,
    )
    server = _Server(config, readiness, on_started)
    stop = _Stop(server, readiness, unready_seconds)
    with stop.on_signals():
        async with app.router.lifespan_context(app):
            if not stop.asked:
                host, port = bound.getsockname()[:2]
                try:
                    await server.serve(sockets=[bound])
                except OSError as error:
                    raise _unusable(error, host, port) from error
    if stop.asked:
        log.info("stopped")
    return FORCED_EXIT_CODE if stop.forced else 0


class _Stop:
    """What the signals do: the first drains, the second hurries, the third ends the process where it stands."""

    def __init__(self, server: _Server, readiness: Readiness, unready_seconds: float) -> None:
        self._server, self._readiness, self._unready_seconds = server, readiness, unready_seconds
        self.asked = self.forced = False

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen for the block."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signal)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _signal(self) -> None:
        if self.forced:
            os._exit(FORCED_EXIT_CODE)
        if self.asked:
            log.warning("asked to stop again: not waiting any longer")
            self.forced = self._server.force_exit = True
            self._readiness.hurry()
            self._server.leave()
            return
        self.asked = True
        self._readiness.drain()
        log.info("asked to stop: draining for up to %.0f s (again to force)", self._readiness.seconds_left())
        asyncio.get_running_loop().call_later(self._unready_seconds, self._close_listener)

    def _close_listener(self) -> None:
        self._server.leave()


class _Server(uvicorn.Server):
    """uvicorn's server under our signals, with a drain that cuts no connection on which a request may be on its way."""

    def __init__(self, config: uvicorn.Config, readiness: Readiness, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._readiness, self._on_started = readiness, on_started
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Begin the shutdown now."""
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        """Wait for the end. uvicorn would look ten times a second; its date header needs one look a second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._leaving.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `_Stop`: uvicorn would raise them again after the drain, and the exit code would not be 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listener, let idle connections end with an answer, then give running requests what is left of the drain."""
        for bound in sockets or ():
            await self._empty_queue(bound)
        for listener in self.servers:
            listener.close()
        deadline = asyncio.get_running_loop().time() + min(CLOSING_GRACE_SECONDS, self._readiness.seconds_left())
        while self.server_state.connections and not self.force_exit:
            if asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(0.02)
        # uvicorn only passes the figure on to asyncio.wait_for, which takes fractions as well
        self.config.timeout_graceful_shutdown = self._readiness.seconds_left()  # type: ignore[assignment]
        await super().shutdown(sockets)

    async def _empty_queue(self, listener: socket.socket) -> None:
        """Accept whom the kernel has told that they are connected; see `refuse_new_connections`."""
        if not refuse_new_connections(listener):
            return
        deadline = asyncio.get_running_loop().time() + min(QUEUE_SECONDS, self._readiness.seconds_left())
        await asyncio.sleep(_TURN_SECONDS)  # a handshake may be under way
        while queued_connections(listener) and asyncio.get_running_loop().time() < deadline and not self.force_exit:  # noqa: ASYNC110 - the kernel sets no event of ours
            await asyncio.sleep(_TURN_SECONDS)


class _ClosingWhileDraining:
    """Answers during the drain say ``Connection: close``, so that clients leave by themselves (RFC 9112, section 9.6)."""

    def __init__(self, app: ASGIApp, readiness: Readiness) -> None:
        self._app, self._readiness = app, readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._readiness.draining:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, send_closing)
