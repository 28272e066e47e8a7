"""What a deployment amounts to: who hosts what, which calls cross processes, in which order all stops, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from urllib.parse import urlsplit

from trenza.chassis.contract import Event
from trenza.chassis.gateway import GatewayDeclarations, GatewayRoute
from trenza.chassis.runtime.databases import database_urls
from trenza.chassis.runtime.deployment import Deployment
from trenza.chassis.runtime.wiring import WiringError, in_dependency_order, wiring_problems
from trenza.chassis.service import Service
from trenza.chassis.settings import InvalidSettings, PlatformSettings

__all__ = ["Call", "EventFlow", "Plan"]


@dataclass(frozen=True)
class Call:
    """That the services of a process call another service: within the process when it hosts that one, too."""

    process: str
    caller: str
    callee: str
    local: bool
    urls: tuple[str, ...]


@dataclass(frozen=True)
class EventFlow:
    """That one service announces events and another takes them; ``types`` are the message types, sorted."""

    publisher: str
    consumer: str
    types: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A deployment together with the services that it names and the settings that all of its processes share."""

    deployment: Deployment
    services: tuple[Service, ...]
    settings: PlatformSettings

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """Every call between services, by process."""
        by_name = {service.name: service for service in self.services}
        return tuple(
            Call(
                process=name,
                caller=caller,
                callee=used.service,
                local=used.service in process.services,
                urls=() if used.service in process.services else self.deployment.urls_of(used.service),
            )
            for name, process in self.deployment.processes.items()
            for caller in process.services
            if caller in by_name  # one that could not be loaded has been complained of
            for used in by_name[caller].uses
        )

    @cached_property
    def events(self) -> tuple[EventFlow, ...]:
        """Which services take which services' events, in the order of the services; who announces a type stands in its name."""
        flows: dict[tuple[str, str], set[str]] = {}
        for service in self.services:
            for handler in service.handlers:
                if issubclass(handler.message, Event):
                    kind = handler.message.message_type
                    flows.setdefault((kind.partition(".")[0], service.name), set()).add(kind)
        return tuple(EventFlow(publisher, consumer, tuple(sorted(types))) for (publisher, consumer), types in flows.items())

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """What keeps the deployment from working, each with its remedy."""
        # A service that could not be loaded has been complained of; who uses it has no second fault.
        unloaded = set(self.deployment.services) - {service.name for service in self.services}
        problems = wiring_problems(self.services, unloaded)
        try:
            in_dependency_order(self.services)
        except WiringError as error:
            problems += error.problems
        try:
            database_urls(self.services, self.settings)
        except InvalidSettings as error:
            problems += error.problems
        return (*problems, *self._closed_doors(), *self._undeclared())

    def _undeclared(self) -> Iterator[str]:
        """What ``[gateway]`` declares and cannot be."""
        declared, processes = self.deployment.gateway, self.deployment.processes
        if declared == GatewayDeclarations():
            return
        if len(processes) > 1 and not any(process.gateway for process in processes.values()):
            yield "gateway: no process is the gateway; write gateway = true for one"
        yield from declared.problems(tuple(GatewayRoute(s.name, s.contract.paths) for s in self.services))

    def _closed_doors(self) -> Iterator[str]:
        """Calls that would go through a gateway, behind which there is no internal route."""
        for call in self.calls:
            for name, process in self.deployment.processes.items():
                if process.gateway and process.url is not None and process.url in call.urls:
                    yield (
                        f"{call.caller} in process {call.process} calls {call.callee}, which {name} hosts beside the gateway; "
                        f"host {call.callee} in a process of its own, or in {call.process} as well"
                    )

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """What works, but perhaps not as it is meant."""
        return (*self._apart(), *self._doors())

    def _apart(self) -> Iterator[str]:
        """What lies in the data folder of one machine, where the processes stand on several."""
        hosts = {urlsplit(url).hostname or "" for process in self.deployment.processes.values() for url in process.urls}
        if all(_is_loopback(host) for host in hosts):
            return
        urls = database_urls(self.services, self.settings)
        embedded = sorted(name for name, url in urls.items() if url.get_backend_name() == "sqlite")
        shared = "it must be one folder, which all processes share on one machine"
        if embedded:
            yield f"the databases of {', '.join(embedded)} are files in the data folder: {shared}, or set TRENZA_DATABASE_URL"
        if self.settings.blobs_url is None:
            yield f"objects are files in the data folder: {shared}, or set TRENZA_BLOBS_URL"
        if self.settings.signing_key_file is None:
            yield f"the signing key is a file in the data folder: {shared}, or set TRENZA_SIGNING_KEY_FILE"

    def _doors(self) -> Iterator[str]:
        processes = self.deployment.processes
        if not self.deployment.alone and not any(process.url for process in processes.values()):
            yield "no process has a url, so that clients reach none of them: give one a url"
        if len(processes) > 1 and not any(process.gateway for process in processes.values()):
            yield "no process is the gateway, so that clients need the address of each: write gateway = true for one"

    @cached_property
    def tiers(self) -> dict[str, int]:
        """For each process when it stops, 0 first: gateways, then who calls others, then who is called."""
        order = {service.name: place for place, service in enumerate(in_dependency_order(self.services))}  # callees first
        ranks = {
            name: -1 if process.gateway else len(order) - max((order[service] for service in process.services), default=0)
            for name, process in self.deployment.processes.items()
        }
        steps = {rank: tier for tier, rank in enumerate(sorted(set(ranks.values())))}
        return {name: steps[rank] for name, rank in ranks.items()}


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "")
