"""Deployment files: which services run in which process, where it is reached, and what it does."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError, field_validator, model_validator

from trenza.chassis.gateway import GatewayDeclarations
from trenza.chassis.settings import CannotStart

__all__ = ["Deployment", "DeploymentError", "Process", "read_deployment", "shipped_deployments"]

_NAME = r"^[a-z][a-z0-9_-]{0,62}$"
Name = Annotated[str, Field(pattern=_NAME)]
_URL = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::(?P<port>[0-9]{1,5}))?")
_HIGHEST_PORT = 65_535


class DeploymentError(CannotStart):
    """The deployment cannot be started as it is written; lists every problem, each with its remedy."""

    def __init__(self, summary: str, problems: tuple[str, ...]) -> None:
        lines = (f"{summary}: {problems[0]}",) if len(problems) == 1 else (f"{summary}:", *(f"  - {p}" for p in problems))
        super().__init__("\n".join(lines))
        self.problems = problems


class Process(BaseModel):
    """One process of a deployment: the services that share it, and where the others reach it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    services: tuple[Name, ...] = ()
    gateway: StrictBool = False
    """Whether clients come here: it answers for all services, and passes on what others host."""
    url: str | None = None
    """Where it listens and the others call it: ``http://127.0.0.1:8101``. Without one nobody calls it: it only works."""
    replicas: StrictInt = Field(1, ge=1, le=64)
    """How many of it run. On one machine they listen on consecutive ports from that of ``url``; gateways share theirs."""
    workers: StrictBool = True
    """Whether it handles messages and tasks, relays events and fires schedules."""

    @field_validator("services")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({name for name in value if value.count(name) > 1}):
            message = f"{', '.join(twice)} listed twice; once is enough"
            raise ValueError(message)
        return value

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        """An address that paths are appended to."""
        if value is None:
            return None
        match = _URL.fullmatch(value)
        if match is None:
            raise ValueError(f"{value!r} is no address of a process; write http://host:port, without a path")
        if not 0 < int(match["port"] or 80) <= _HIGHEST_PORT:
            raise ValueError(f"{value!r} has no port that exists; choose one from 1 to {_HIGHEST_PORT}")
        return value

    @model_validator(mode="after")
    def _purposeful(self) -> Process:
        if not self.services and not self.gateway:
            raise ValueError('hosts nothing; write services = ["photos"], or gateway = true')
        if self.url is None and not self.workers and not self.gateway:
            raise ValueError("does nothing: without a url nobody calls it, and it runs no workers; give it one of both")
        if self.url is None and self.gateway and self.replicas > 1:
            raise ValueError("has several replicas but no url; give it the address at which clients come in")
        port = self.port
        if port is not None and port + self.replicas - 1 > _HIGHEST_PORT:
            raise ValueError(f"its replicas need the ports {port} to {port + self.replicas - 1}, and {_HIGHEST_PORT} is the last")
        return self

    @property
    def port(self) -> int | None:
        """The port of the first replica; None without a `url`."""
        if self.url is None:
            return None
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where each replica is reached; empty without a `url`."""
        if self.url is None:
            return ()
        if self.replicas == 1 or self.gateway:
            return (self.url,)
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return tuple(f"{parts.scheme}://{host}:{(self.port or 0) + index}" for index in range(self.replicas))

    def address(self, replica: int) -> tuple[str, int]:
        """Host and port at which a replica (from 0) listens; a free port of this machine without a `url`."""
        if self.url is None:
            return "127.0.0.1", 0
        host = urlsplit(self.url).hostname or "127.0.0.1"
        return host, (self.port or 0) + (0 if self.gateway else replica)


class _File(BaseModel):
    """The shape of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    processes: dict[Name, Process] = Field(min_length=1)
    gateway: GatewayDeclarations = GatewayDeclarations()


@dataclass(frozen=True)
class Deployment:
    """A deployment file, read and checked; ``source`` is the name or path by which another process reads the same."""

    name: str
    processes: dict[str, Process]
    source: str = ""
    gateway: GatewayDeclarations = field(default_factory=GatewayDeclarations)
    """What its gateways do besides: compositions, and prefixes that come from an older system."""

    @property
    def services(self) -> tuple[str, ...]:
        """The names of all services, whichever process they run in."""
        return tuple(dict.fromkeys(name for process in self.processes.values() for name in process.services))

    @property
    def alone(self) -> bool:
        """Whether one process is all there is."""
        return len(self.processes) == 1 and next(iter(self.processes.values())).replicas == 1

    @property
    def public_url(self) -> str | None:
        """Where clients come in, as far as the file tells."""
        return next((process.url for process in self.processes.values() if process.gateway), None)

    def process(self, name: str) -> Process:
        """The process of that name. Raises `DeploymentError`."""
        if name not in self.processes:
            known = ", ".join(self.processes)
            raise DeploymentError(f"deployment {self.name!r}", (f"it has no process {name!r}; known: {known}",))
        return self.processes[name]

    def only_process(self) -> str:
        """The name of the process of a deployment that has one. Raises `DeploymentError` for one that has several."""
        if len(self.processes) != 1:
            names = ", ".join(sorted(self.processes))
            remedy = "name one with `trenza serve`, start all with `trenza up`, or name a deployment with one process"
            raise DeploymentError(f"deployment {self.name!r}", (f"it has {len(self.processes)} processes ({names}); {remedy}",))
        return next(iter(self.processes))

    def urls_of(self, service: str) -> tuple[str, ...]:
        """Where a service is called: the addresses of all processes that host it."""
        hosts = (process for process in self.processes.values() if service in process.services)
        return tuple(dict.fromkeys(url for process in hosts for url in process.urls))


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
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text, or no path"
            raise DeploymentError(f"deployment file {name}", (f"cannot be read ({reason}); check the path",)) from None
        title, source = path.stem, str(path.absolute())
    else:
        if name not in shipped_deployments():
            known = ", ".join(shipped_deployments())
            raise DeploymentError(
                f"deployment {name!r}", (f"ships with no such name; known: {known}, or give the path of a .toml",)
            )
        text = (files("trenza") / "deployments" / f"{name}.toml").read_text(encoding="utf-8")
        title = source = name
    where = f"deployment file {name}"
    parsed = _parse(text, where=where)
    processes = parsed.processes
    if problems := (*_shared_addresses(processes), *_nowhere(processes)):
        raise DeploymentError(where, problems)
    return Deployment(name=title, processes=processes, source=source, gateway=parsed.gateway)


def _shared_addresses(processes: dict[str, Process]) -> Iterator[str]:
    """Processes that would listen where another one does."""
    taken: dict[str, str] = {}
    for name, process in processes.items():
        for url in process.urls:
            other = taken.setdefault(url, name)
            if other != name:
                yield f"processes.{name}.url: {url} is that of {other} as well (replicas take consecutive ports); choose another"


def _nowhere(processes: dict[str, Process]) -> Iterator[str]:
    """Services that could not be reached, or whose messages nobody would handle."""
    if len(processes) == 1:
        return
    for service in dict.fromkeys(name for process in processes.values() for name in process.services):
        hosts = {name: process for name, process in processes.items() if service in process.services}
        first = next(iter(hosts))
        if not any(process.url for process in hosts.values()):
            yield f"processes.{first}: nobody reaches {service}, as no process that hosts it has a url; give this one a url"
        if not any(process.workers for process in hosts.values()):
            yield f"processes.{first}: nobody handles the messages of {service}; let one process that hosts it run workers"


def _parse(text: str, *, where: str) -> _File:
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, numbers of thousands of digits, brackets in brackets
        raise DeploymentError(where, (f"is not TOML: {error}",)) from None
    try:
        return _File.model_validate(document)
    except ValidationError as error:
        raise DeploymentError(where, tuple(_sentence(dict(item)) for item in error.errors(include_url=False))) from None


_SENTENCES = {
    "extra_forbidden": "{key}: unknown key; remove it (a process has services, gateway, url, replicas, workers)",
    "missing": '{key}: missing; write [processes.all] with services = ["photos", "images"]',
    "too_short": "{key}: is empty; name at least one",
    "string_pattern_mismatch": "{key}: {input!r} is no name; use lower-case letters, digits, - and _, starting with a letter",
    "value_error": "{key}: {reason}",
    "bool_type": "{key}: is {input!r}; write true or false",
    "string_type": "{key}: is {input!r}; write a text in quotes",
    "greater_than_equal": "{key}: is {input!r}; write a number from 1 to 64",
    "less_than_equal": "{key}: is {input!r}; write a number from 1 to 64",
    "int_type": "{key}: is {input!r}; write a whole number",
}
_ANY_OTHER = '{key}: is {input!r}; write a list of names such as services = ["photos", "images"]'


def _sentence(error: dict[str, Any]) -> str:
    """An error of pydantic as a line that names the key of the file and what to write there."""
    key = ".".join(str(part) for part in error["loc"] if part != "[key]")
    reason = str(error["msg"]).removeprefix("Value error, ")
    if error["loc"][:1] == ("gateway",):
        return _gateway_sentence(key, error["type"], error["input"], reason)
    return _SENTENCES.get(error["type"], _ANY_OTHER).format(key=key, input=error["input"], reason=reason)


def _gateway_sentence(key: str, kind: str, given: object, reason: str) -> str:
    """The same for the table ``[gateway]``, whose keys are of many kinds."""
    if kind == "extra_forbidden":
        return f"{key}: unknown key; remove it (a gateway has legacy, moves and compositions)"
    if kind in ("missing", "value_error"):
        return f"{key}: {reason[:1].lower()}{reason[1:]}"
    return f"{key}: is {given!r}; {reason[:1].lower()}{reason[1:]}"
