"""The check at boot that everything a deployment's services need is there; it reports all that is missing at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

from fastapi.routing import iter_route_contexts

from trenza.chassis.messages.handlers import Handlers
from trenza.chassis.service import Service
from trenza.chassis.settings import CannotStart

__all__ = ["WiringError", "in_dependency_order", "wiring_problems"]


class WiringError(CannotStart):
    """Services that do not fit together; lists every problem, each with its remedy."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("the services do not fit together:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


def in_dependency_order(services: tuple[Service, ...]) -> tuple[Service, ...]:
    """The services, each after those that it uses. Raises `WiringError` when they use each other in a circle."""
    by_contract = {service.contract: service for service in services}
    graph = {s.name: [by_contract[used].name for used in s.uses if used in by_contract] for s in services}
    by_name = {service.name: service for service in services}
    try:
        return tuple(by_name[name] for name in TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " → ".join(error.args[1])
        raise WiringError((f"services use each other in a circle ({circle}): answer upstream by events instead",)) from None


def wiring_problems(services: tuple[Service, ...], elsewhere: Collection[str] = ()) -> tuple[str, ...]:
    """Everything wrong between the services themselves, in the order of the services; ``elsewhere`` other processes host more."""
    return (
        *_missing_contracts(services, elsewhere),
        *_shared_prefixes(services),
        *(problem for service in services for problem in _within(service)),
    )


def _missing_contracts(services: tuple[Service, ...], elsewhere: Collection[str]) -> Iterator[str]:
    hosted = {service.contract for service in services}
    for service in services:
        for used in service.uses:
            if used not in hosted and used.service not in elsewhere:
                remedy = f"add {used.service!r} to the services of the deployment"
                yield f"{service.name} uses {used.__name__}, which no process hosts: {remedy}"


def _shared_prefixes(services: tuple[Service, ...]) -> Iterator[str]:
    """Prefixes that two services own, equal or one within the other: routing must never depend on an order."""
    owned = [(path, service.name) for service in services for path in service.contract.paths]
    for index, (path, owner) in enumerate(owned):
        for other_path, other in owned[index + 1 :]:
            if owner != other and (_lies_in(path, other_path) or _lies_in(other_path, path)):
                yield f"{owner} owns the path {path} and {other} owns {other_path}: change one of their contracts"


def _lies_in(path: str, owned: str) -> bool:
    """Whether a path is an owned one or below it. Nothing is below the root: who owns ``/`` owns that path alone."""
    return path == owned or (owned != "/" and path.startswith(f"{owned}/"))


def _implementation(service: Service) -> Iterator[str]:
    """What does not implement the contract; what a function builds is not known before it is called."""
    kind, contract = service.implementation, service.contract
    if not isinstance(kind, type):
        return
    try:
        signature(kind).bind(None)
    except TypeError:
        remedy = "write def __init__(self, resources: Resources[…]) -> None"
        yield f"{service.name}: {kind.__name__} cannot be built as {kind.__name__}(resources): {remedy}"
    if not issubclass(kind, contract):
        remedy = f"write class {kind.__name__}({contract.__name__})"
        yield f"{service.name}: {kind.__name__} does not implement {contract.__name__}: {remedy}"
    elif missing := sorted(getattr(kind, "__abstractmethods__", ())):
        yield f"{service.name}: {kind.__name__} lacks {', '.join(missing)}: implement what {contract.__name__} promises"


def _migrations(service: Service) -> Iterator[str]:
    """Tables that nothing would make."""
    if service.migrations is not None:
        if not _has_versions(service.migrations):
            yield f"{service.name}: {service.migrations} has no folder 'versions': add versions/0001_<what>.py to it"
    elif service.tables is not None and service.tables.tables:
        remedy = 'write migrations="<its package>.migrations" in its wiring, and versions/0001_<what>.py there'
        yield f"{service.name} lists tables but no migrations: {remedy}"


def _messages(service: Service) -> Iterator[str]:
    """Handlers and schedules that contradict each other."""
    handlers = Counter((handler.consumer, handler.message) for handler in service.handlers)
    for (consumer, message), times in handlers.items():
        if times > 1:
            named = f"{times} handlers named {consumer!r} of {message.message_type}"
            yield f"{service.name} has {named}: the inbox tells them apart by name, so rename one"
    if handlers.total() == len(handlers):
        try:
            Handlers(service.handlers)
        except TypeError as error:
            yield f"{service.name}: {error}"
    for name, times in Counter(schedule.name for schedule in service.schedules).items():
        if times > 1:
            yield f"{service.name} has {times} schedules named {name!r}: rename one"
    handled = {handler.message for handler in service.handlers}
    for schedule in service.schedules:
        if type(schedule.task) not in handled:
            yield f"{service.name} schedules {type(schedule.task).__name__} but has no handler for it: add one with @handles"


def _has_versions(package: str) -> bool:
    """Looked up as `chassis.data.migrations` does, which would load Alembic."""
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:
        return False
    return any((Path(place) / "versions").is_dir() for place in (spec and spec.submodule_search_locations) or ())


def _within(service: Service) -> Iterator[str]:
    """What is wrong inside one service."""
    yield from _implementation(service)
    yield from _migrations(service)
    yield from _messages(service)
    if service.mounted is not None and (len(service.contract.paths) != 1 or service.contract.paths == ("/",)):
        remedy = f'write {service.contract.__name__}(Contract, service="{service.name}", paths=("/{service.name}",))'
        yield f"{service.name} mounts an application below {service.contract.paths or 'no path'}: {remedy}"
    for route in iter_route_contexts(service.router.routes) if service.router else ():
        path = route.path
        if path is not None and not any(_lies_in(path, owned) for owned in service.contract.paths):
            yield f"{service.name} has the route {path} outside of its contract's paths {service.contract.paths}: add its prefix"
