"""Builds a deployment's services from their settings up, connects them, and brackets the time in which they work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pydantic_settings import BaseSettings

from trenza.chassis.blobs import Blobs, open_blobs
from trenza.chassis.calls import bind_local
from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.contract import Contract
from trenza.chassis.data import Database
from trenza.chassis.failpoints import killing_at, parse_failpoint
from trenza.chassis.http.idempotency import free_interrupted_keys
from trenza.chassis.http.mounted import Mounted
from trenza.chassis.http.rate_limits import RateLimits
from trenza.chassis.messages import Messages, NeighbourTransport, open_transport
from trenza.chassis.messages.transports.base import Transport
from trenza.chassis.runtime.broker import BrokerWatch
from trenza.chassis.runtime.databases import database_urls, migrate_or_refuse, neighbour_databases, open_database
from trenza.chassis.runtime.lock import make_data_folder
from trenza.chassis.runtime.object_store import belong_or_refuse
from trenza.chassis.runtime.placement import BRAIDED, Placement
from trenza.chassis.runtime.readiness import Readiness
from trenza.chassis.runtime.signing import key_files
from trenza.chassis.runtime.wiring import WiringError, in_dependency_order
from trenza.chassis.service import Resources, Service
from trenza.chassis.settings import InvalidSettings, PlatformSettings, load_settings

if TYPE_CHECKING:
    from trenza.chassis.auth.key_files import KeyFiles
    from trenza.chassis.calls.callees import Callees

__all__ = ["Assembly", "open_databases", "read_service_settings"]

C = TypeVar("C", bound=Contract)

_SUBSCRIBE_SECONDS = 3.0
"""How long a start waits for a broker; transports go on by themselves."""


def read_service_settings(services: tuple[Service, ...], platform: PlatformSettings) -> dict[str, BaseSettings]:
    """Every service's settings by its name.

    Raises `InvalidSettings` with the problems of all services, and in production `UnsafeSettings` with those of the platform and
    of every service whose settings have a method ``unsafe_for_production() -> tuple[str, ...]``.
    """
    found: dict[str, BaseSettings] = {}
    problems: list[str] = []
    for service in services:
        try:
            found[service.name] = load_settings(service.settings)
        except InvalidSettings as error:
            problems.extend(error.problems)
    if problems:
        raise InvalidSettings(tuple(problems))
    judges = [getattr(settings, "unsafe_for_production", None) for settings in found.values()]
    platform.refuse_unsafe(tuple(problem for judge in judges if judge for problem in judge()))
    return found


def open_databases(services: tuple[Service, ...], settings: PlatformSettings) -> dict[str, Database]:
    """The database of each service that has one, by its name. Nothing connects yet. Raises `InvalidSettings`."""
    urls = database_urls(services, settings)
    make_data_folder(settings.data_dir)
    return {name: open_database(name, url) for name, url in urls.items()}


class Assembly:
    """The services of one process. Building it opens nothing that needs an event loop; `running` does.

    ``implementations`` holds each service's implementation by its own class, ``bindings`` what other services call, by contract,
    ``mounts`` the applications that joined as they are, by service.
    ``alone`` names services on whose embedded databases no other process works (they are locked): what a killed predecessor had
    begun there goes on at once, rather than when its leases have run out.
    """

    def __init__(
        self,
        services: tuple[Service, ...],
        settings: PlatformSettings,
        *,
        clock: Clock | None = None,
        alone: Collection[str] = (),
        placement: Placement = BRAIDED,
    ) -> None:
        self.settings = settings
        self.placement = placement
        self._alone = alone
        self.services = in_dependency_order(services)
        self.service_settings = read_service_settings(self.services, settings)
        self.clock: Clock = clock or SystemClock()
        self.readiness = Readiness(settings.drain_seconds)
        self.databases = open_databases(self.services, settings)
        self.blobs: Blobs = open_blobs(settings)
        # Limits heed a clock that is given, but not the machine's, which may be set.
        self.rate_limits = RateLimits(
            self.placement.limited(settings),
            at_door=not self.placement.behind_gateway,
            now=time.monotonic if clock is None else lambda: self.clock.now().timestamp(),
        )
        self.transport = self._transport()
        self.broker = BrokerWatch(self.transport)
        self.messages = self._messages()
        for messages in self.messages.values():
            messages.use(self.transport)
        self.implementations: dict[type, Any] = {}
        self.bindings: dict[type[Contract], Contract] = {}
        self.keys = key_files(settings)
        self.callees = _open_callees(settings, self.keys, self.clock, self.blobs) if self.placement.elsewhere else None
        self._remote: dict[tuple[str, type[Contract]], Contract] = {}
        self.mounts = {
            service.name: Mounted(service.mounted, service=service.name, prefix=service.contract.paths[0])
            for service in self.services
            if service.mounted is not None
        }
        self._built: list[tuple[Service, Any]] = []
        self._bind_remote()
        for service in self.services:
            implementation = service.implementation(self._resources_of(service))
            self._built.append((service, implementation))
            self.implementations[type(implementation)] = implementation
            self.bindings[service.contract] = bind_local(service.contract, implementation)

    def _transport(self) -> Transport:
        """What carries the events: a broker where one is named, else the databases themselves."""
        url = self.settings.transport_url
        if url is None and self.placement.elsewhere:
            return NeighbourTransport(neighbour_databases(self.placement.elsewhere, self.settings), self.clock)
        return open_transport(None if url is None else url.get_secret_value(), blobs=self.blobs, clock=self.clock)

    def _bind_remote(self) -> None:
        """Bind what the services call in other processes."""
        for service in self.services:
            for contract in service.uses:
                if self.callees is not None and contract.service in self.placement.elsewhere:
                    urls = self.placement.elsewhere[contract.service]
                    self._remote[service.name, contract] = self.callees.bind(contract, urls, caller=service.name)

    def implementation_of(self, service: Service) -> Any:
        """What implements a service's contract here."""
        return next(implementation for built, implementation in self._built if built is service)

    def _messages(self) -> dict[str, Messages]:
        """The messages of each service that has a database. Raises `WiringError` for declarations that cannot work."""
        found: dict[str, Messages] = {}
        problems: list[str] = []
        for service in self.services:
            if service.name in self.databases:
                try:
                    found[service.name] = self._messages_of(service)
                except (TypeError, ValueError) as error:
                    problems.append(f"{service.name}: {error}")
        if problems:
            raise WiringError(tuple(problems))
        return found

    def _messages_of(self, service: Service) -> Messages:
        database = self.databases[service.name]
        messages = Messages(
            database,
            service.name,
            handlers=service.handlers,
            schedules=service.schedules,
            clock=self.clock,
            settings=self.settings,
        )
        database.messages = messages
        return messages

    def _resources_of(self, service: Service) -> Resources[Any]:
        absent: Any = _Absent(
            f"{service.name} lists neither tables nor handlers in its wiring, so it has no database and no tasks"
        )
        return Resources(
            settings=self.service_settings[service.name],
            platform=self.settings,
            database=self.databases.get(service.name, absent),
            blobs=self.blobs,
            tasks=self.messages.get(service.name, absent),
            clock=self.clock,
            call=self._caller_for(service),
        )

    def _caller_for(self, service: Service) -> Callable[[type[C]], C]:
        def call(contract: type[C]) -> C:
            if contract not in service.uses:
                message = f"{service.name} calls {contract.__name__}: list it in `uses` of its wiring"
                raise RuntimeError(message)
            binding: Any = self._remote.get((service.name, contract)) or self.bindings[contract]
            return binding  # type: ignore[no-any-return]  # the mapping's key is the type of its value

        return call

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work for the block: migrate, start the services, then their workers, then be ready; drain and close in reverse.

        Raises `PendingMigrations`, `DatabaseUnavailable`, `ForeignObjectStore` and `SilentObjectStore` before anything has
        started.
        """
        async with AsyncExitStack() as stack:
            if self.settings.failpoint is not None:
                stack.enter_context(killing_at(*parse_failpoint(self.settings.failpoint)))
            stack.push_async_callback(self.rate_limits.close)
            stack.push_async_callback(self.blobs.close)
            if self.callees is not None:
                stack.push_async_callback(self.callees.close)
            for database in self.databases.values():
                stack.push_async_callback(database.close)
            await asyncio.gather(*(database.ping() for database in self.databases.values()))
            await migrate_or_refuse(self.databases, self.services, self.settings)
            await belong_or_refuse(self.databases, self.blobs, self.settings, now=self.clock.now())
            for service, implementation in self._built:
                if service.lifespan is not None:
                    await stack.enter_async_context(service.lifespan(implementation))
                if service.name in self.mounts:
                    await stack.enter_async_context(self.mounts[service.name].running())
            stack.push_async_callback(self.transport.close)
            stack.push_async_callback(self.broker.close)
            await self._take_over()
            if self.placement.workers:
                stack.push_async_callback(self._drain_messages)
                await self._start_messages(stack)
            self.readiness.started()
            try:
                yield
            finally:
                self.readiness.drain()

    async def _start_messages(self, stack: AsyncExitStack) -> None:
        """Relay, handle and fire schedules from now on."""
        await self._subscribe(stack)
        for service, implementation in self._built:
            if service.name in self.messages:
                await self.messages[service.name].start(implementation)

    async def _take_over(self) -> None:
        """Let what a killed predecessor had begun go on at once, where nobody else can have begun anything."""
        for name, database in self.databases.items():
            if name in self._alone and database.is_sqlite:
                await self.messages[name].take_over()
                await free_interrupted_keys(database, self.clock.now())

    async def _subscribe(self, stack: AsyncExitStack) -> None:
        """Let all services receive before the first begins to publish; a broker that does not answer is not waited for."""
        asking = [asyncio.create_task(messages.subscribe()) for messages in self.messages.values()]
        asking.append(asyncio.create_task(self.broker.look()))
        stack.push_async_callback(_cancel, asking)
        done, _ = await asyncio.wait(asking, timeout=_SUBSCRIBE_SECONDS)
        for task in done:
            task.result()

    async def _drain_messages(self) -> None:
        """Let running handlers finish in what is left of the drain's time; all services at once, for they feed each other."""
        left = self.readiness.seconds_left()
        await asyncio.gather(*(messages.drain(left) for messages in self.messages.values()))


def _open_callees(settings: PlatformSettings, keys: KeyFiles, clock: Clock, blobs: Blobs) -> Callees:
    """What calls other processes."""
    from trenza.chassis.calls.callees import Callees  # noqa: PLC0415 - aiohttp is a tenth of a second that a monolith need not wait

    return Callees(settings, keys.signing_key, clock, blobs=blobs)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Absent:
    """Stands where a service has asked for nothing, and says so when it is used after all."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(self._reason)
