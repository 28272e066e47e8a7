"""The services that this process calls in other processes: one session, and one transport with its breaker for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import aiohttp

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.blobs import Blobs
from trenza.chassis.calls.callee import Callee
from trenza.chassis.calls.client import bind_wire
from trenza.chassis.calls.large_bodies import LargeBodies
from trenza.chassis.calls.passports import Passports
from trenza.chassis.calls.transport import Transport
from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.contract import Contract
from trenza.chassis.peers import PeerLimits, client_tls
from trenza.chassis.peers.sessions import open_session
from trenza.chassis.settings import PlatformSettings

__all__ = ["Callees"]

C = TypeVar("C", bound=Contract)


class Callees:
    """Makes the transports of a process. The first call opens the session; `close` ends it, after the last call.

    ``key`` signs the passports, or gives the key that signs them now. ``blobs`` is the shared object store, through which large
    arguments and results travel. Raises `UnusableTls`.
    """

    def __init__(
        self,
        settings: PlatformSettings,
        key: SigningKey | Callable[[], SigningKey],
        clock: Clock | None = None,
        *,
        blobs: Blobs | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = PeerLimits.of(settings)
        self._tls = client_tls(settings)
        self._key = key
        self._clock = clock or SystemClock()
        self._monotonic = monotonic
        self.large = LargeBodies(blobs, self._clock)
        self._sweeping: asyncio.Task[None] | None = None
        self._callees: dict[str, Callee] = {}
        self._session: aiohttp.ClientSession | None = None

    def transport(self, service: str, urls: Sequence[str]) -> Transport:
        """The transport to ``service``, whose processes are at ``urls`` (``http://host:port``); the same one for all who ask.

        Raises `ValueError` for addresses that are none, or others than before.
        """
        found = self._callees.get(service)
        if found is None:
            found = self._callees[service] = Callee(
                service, urls, self._limits, self._open, self._clock, monotonic=self._monotonic
            )
        elif set(found.urls()) != {url.rstrip("/") for url in urls}:
            raise ValueError(f"{service} was at {', '.join(found.urls())}, now at {', '.join(urls)}; name its processes once")
        return found

    def bind(self, contract: type[C], urls: Sequence[str], *, caller: str) -> C:
        """The contract as the service ``caller`` sees it, carried out by the processes at ``urls``."""
        transport = self.transport(contract.service, urls)
        return bind_wire(contract, transport, Passports(self._key, caller=caller, clock=self._clock), large=self.large)

    def states(self) -> dict[str, dict[str, Any]]:
        """What `Callee.state` says of each service, for ``/health/status``."""
        return {service: callee.state() for service, callee in sorted(self._callees.items())}

    async def close(self) -> None:
        """Close the connections. Calls that come later open new ones."""
        sweeping, self._sweeping = self._sweeping, None
        if sweeping is not None:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(tls=self._tls)
            self._sweeping = asyncio.create_task(self.large.sweep_now_and_then(), name="bodies of calls")
        return self._session
