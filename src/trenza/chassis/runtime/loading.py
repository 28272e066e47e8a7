"""Loading services by name from the entry points of installed distributions, and saying all that stands in the way."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, entry_points
from traceback import extract_tb, walk_tb

from trenza.chassis.runtime.deployment import DeploymentError
from trenza.chassis.service import Service

__all__ = ["ENTRY_POINTS", "find_services", "load_services"]

ENTRY_POINTS = "trenza.services"
"""The entry point group in which every distribution, ours or another's, registers its services."""


def load_services(names: tuple[str, ...]) -> tuple[Service, ...]:
    """Load services by name from the entry points of the group ``trenza.services``, in the order given.

    Raises `DeploymentError` that lists every unknown service, every name that two distributions use, and every missing package
    over all of them at once, and the one command that installs what is missing.
    """
    services, problems = find_services(names)
    if problems:
        raise DeploymentError("the deployment's services cannot be loaded", problems)
    return services


def find_services(names: tuple[str, ...]) -> tuple[tuple[Service, ...], tuple[str, ...]]:
    """The services that can be loaded, in the order given, and what stands in the way of the others (see `load_services`)."""
    registered: defaultdict[str, list[EntryPoint]] = defaultdict(list)
    for each in entry_points(group=ENTRY_POINTS):
        registered[each.name].append(each)
    problems: list[str] = []
    extras: dict[str, set[str]] = {}
    services = []
    for name in names:
        offered = registered.get(name, [])
        if not offered:
            known = ", ".join(sorted(registered)) or "none"
            problems.append(f"no installed distribution has a service {name!r}; known: {known}")
        elif len(offered) > 1:
            offering = " and ".join(sorted(each.dist.name if each.dist else each.module for each in offered))
            problems.append(f"service {name!r} is in several distributions: {offering}; uninstall one, or rename its service")
        # Looked up before the import, which would name the first missing package only.
        elif not _lacking(offered[0], name, problems, extras):
            try:
                service = _load(offered[0])
            except DeploymentError as error:
                problems.extend(error.problems)
            else:
                _lacking(offered[0], service.extra or name, problems, extras)
                services.append(service)
    if extras:
        commands = [f"pip install '{dist}[{','.join(sorted(wanted))}]'" for dist, wanted in sorted(extras.items())]
        problems.append(f"install what is missing: {' && '.join(commands)}")
    return tuple(services), tuple(problems)


def _lacking(entry: EntryPoint, extra: str, problems: list[str], extras: dict[str, set[str]]) -> bool:
    """Note the packages of an extra that are not installed; returns whether there are any."""
    missing = _missing_packages(entry.dist, extra)
    if missing and entry.dist is not None:
        problems.append(f"service {entry.name!r} needs {', '.join(missing)}")
        extras.setdefault(entry.dist.name, set()).add(extra)
    return bool(missing)


def _load(entry: EntryPoint) -> Service:
    """The `Service` that an entry point names."""
    try:
        service = entry.load()
    except ImportError as error:
        absent = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        remedy = f"; install {absent}" if absent not in ("", entry.module.partition(".")[0]) else ""
        if error.name == entry.module:
            remedy = "; correct its entry point, or install its distribution again"
        raise DeploymentError("", (f"service {entry.name!r} ({entry.value}) cannot be imported: {error}{remedy}",)) from error
    except TypeError as error:
        place = _declared_at(error)
        if place is None:
            raise
        raise DeploymentError("", (f"service {entry.name!r} ({entry.value}) cannot be imported: {error} ({place})",)) from error
    except AttributeError:
        raise DeploymentError("", (f"service {entry.name!r}: {entry.value} does not exist; correct its entry point",)) from None
    if not isinstance(service, Service):
        kind = type(service).__name__
        raise DeploymentError("", (f"service {entry.name!r}: {entry.value} is a {kind}; it must be a trenza.Service",))
    if service.name != entry.name:
        remedy = "give both the same name"
        raise DeploymentError("", (f"service {entry.name!r}: its contract says service={service.name!r}; {remedy}",))
    return service


def _declared_at(error: TypeError) -> str | None:
    """Where the author declared what the chassis refuses (a contract, a value, a handler); None for any other error."""
    frames = [frame for frame, _line in walk_tb(error.__traceback__)]
    names = [str(frame.f_globals.get("__name__", "")) for frame in frames]
    if not names[-1].startswith("trenza.chassis."):
        return None
    inside = ("trenza.chassis.", "pydantic.", "abc", "importlib.")
    own = [step for step, name in zip(extract_tb(error.__traceback__), names, strict=True) if not name.startswith(inside)]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else None


def _missing_packages(dist: Distribution | None, extra: str) -> tuple[str, ...]:
    """Which packages of an extra are not installed. An extra that carries the service's name is taken for its own."""
    if dist is None or extra not in (dist.metadata.get_all("Provides-Extra") or ()):
        return ()
    missing = []
    for requirement in dist.requires or ():
        specifier, _, marker = requirement.partition(";")
        if not re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", marker):
            continue
        package = re.split(r"[\s\[<>=!~(]", specifier.strip(), maxsplit=1)[0]
        try:
            distribution(package)
        except PackageNotFoundError:
            missing.append(package)
    return tuple(missing)
