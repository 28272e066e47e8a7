"""Deployment files: which services run in which process, and loading those services by name."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, entry_points
from importlib.resources import files
from pathlib import Path
from traceback import extract_tb, walk_tb
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from trenza.chassis.service import Service
from trenza.chassis.settings import CannotStart

__all__ = ["ENTRY_POINTS", "Deployment", "DeploymentError", "Process", "load_services", "read_deployment", "shipped_deployments"]

ENTRY_POINTS = "trenza.services"
"""The entry point group in which every distribution, ours or another's, registers its services."""

_NAME = r"^[a-z][a-z0-9_-]{0,62}$"
Name = Annotated[str, Field(pattern=_NAME)]


class DeploymentError(CannotStart):
    """The deployment cannot be started as it is written; lists every problem, each with its remedy."""

    def __init__(self, summary: str, problems: tuple[str, ...]) -> None:
        lines = (f"{summary}: {problems[0]}",) if len(problems) == 1 else (f"{summary}:", *(f"  - {p}" for p in problems))
        super().__init__("\n".join(lines))
        self.problems = problems


class Process(BaseModel):
    """One process of a deployment: the services that share it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    services: tuple[Name, ...] = Field(min_length=1)

    @field_validator("services")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({name for name in value if value.count(name) > 1}):
            message = f"{', '.join(twice)} listed twice"
            raise ValueError(message)
        return value


class _File(BaseModel):
    """The shape of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    processes: dict[Name, Process] = Field(min_length=1)


@dataclass(frozen=True)
class Deployment:
    """A deployment file, read and checked."""

    name: str
    processes: dict[str, Process]

    @property
    def services(self) -> tuple[str, ...]:
        """The names of all services, whichever process they run in."""
        return tuple(dict.fromkeys(name for process in self.processes.values() for name in process.services))

    def only_process(self) -> Process:
        """The process that `trenza up` runs. Raises `DeploymentError` when the file spreads services over several."""
        if len(self.processes) != 1:
            names = ", ".join(sorted(self.processes))
            remedy = "put their services into one, or name a deployment with one process"
            raise DeploymentError(f"deployment {self.name!r}", (f"it has {len(self.processes)} processes ({names}); {remedy}",))
        return next(iter(self.processes.values()))


def shipped_deployments() -> tuple[str, ...]:
    """The names of the deployment files that ship with Trenza."""
    folder = files("trenza") / "deployments"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def read_deployment(name: str) -> Deployment:
    """Read a deployment: a shipped one by name (``monolith``), or a file of one's own by its path (``./mine.toml``).

    Raises `DeploymentError`, which names the key that is wrong and the remedy.
    """
    if name.endswith(".toml") or "/" in name or "\\" in name:
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise DeploymentError(f"deployment file {name}", (f"cannot be read ({reason}); check the path",)) from None
        title = path.stem
    else:
        if name not in shipped_deployments():
            known = ", ".join(shipped_deployments())
            raise DeploymentError(
                f"deployment {name!r}", (f"ships with no such name; known: {known}, or give the path of a .toml",)
            )
        text = (files("trenza") / "deployments" / f"{name}.toml").read_text(encoding="utf-8")
        title = name
    return Deployment(name=title, processes=_parse(text, where=f"deployment file {name}").processes)


def _parse(text: str, *, where: str) -> _File:
    try:
        return _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DeploymentError(where, (f"is not TOML: {error}",)) from None
    except ValidationError as error:
        raise DeploymentError(where, tuple(_sentence(dict(item)) for item in error.errors(include_url=False))) from None


_SENTENCES = {
    "extra_forbidden": "{key}: unknown key; remove it (a deployment has processes, a process has services)",
    "missing": '{key}: missing; write [processes.all] with services = ["photos", "images"]',
    "too_short": "{key}: is empty; name at least one",
    "string_pattern_mismatch": "{key}: {input!r} is no name; use lower-case letters, digits, - and _, starting with a letter",
    "value_error": "{key}: {reason}; once is enough",
}
_ANY_OTHER = '{key}: is {input!r}; write a list of names such as services = ["photos", "images"]'


def _sentence(error: dict[str, Any]) -> str:
    """An error of pydantic as a line that names the key of the file and what to write there."""
    key = ".".join(str(part) for part in error["loc"] if part != "[key]")
    reason = str(error["msg"]).removeprefix("Value error, ")
    return _SENTENCES.get(error["type"], _ANY_OTHER).format(key=key, input=error["input"], reason=reason)


def load_services(names: tuple[str, ...]) -> tuple[Service, ...]:
    """Load services by name from the entry points of the group ``trenza.services``, in the order given.

    Raises `DeploymentError` that lists every unknown service, every name that two distributions use, and every missing package
    over all of them at once, and the one command that installs what is missing.
    """
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
    if problems:
        raise DeploymentError("the deployment's services cannot be loaded", tuple(problems))
    return tuple(services)


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
