"""What a service consists of, and what the chassis hands to its implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from uuid import UUID

from pydantic_settings import BaseSettings, SettingsConfigDict

from trenza.chassis.contract import Contract
from trenza.chassis.messages.definitions import Handler, Schedule

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from fastapi import APIRouter
    from sqlalchemy import MetaData

    from trenza.chassis.auth.permissions import Roles
    from trenza.chassis.blobs import Blobs
    from trenza.chassis.clock import Clock
    from trenza.chassis.data import Database
    from trenza.chassis.http.mounted import MountedApp
    from trenza.chassis.http.phrases import Phrases
    from trenza.chassis.messages import TaskState
    from trenza.chassis.settings import PlatformSettings

__all__ = ["Check", "NoSettings", "Resources", "Service", "TaskBoard"]

S = TypeVar("S", bound=BaseSettings)
C = TypeVar("C", bound=Contract)


class NoSettings(BaseSettings):
    """The settings of a service that has none."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)


class TaskBoard(Protocol):
    """A service's view of the tasks that it gave itself."""

    async def find(self, task_id: UUID) -> TaskState | None:
        """The state of a task, or None when no such task is known (any more)."""
        ...

    async def wait(self, task_id: UUID, *, timeout: float) -> TaskState | None:
        """The state of a task once it has ended, or as it is after ``timeout`` seconds."""
        ...

    async def cancel(self, task_id: UUID) -> bool:
        """Ask a task to stop: a waiting one never starts, a running one is cancelled. False when it has ended already."""
        ...


@dataclass(frozen=True)
class Resources(Generic[S]):
    """What an implementation is built from. The same in one process, in several, and in tests."""

    settings: S
    platform: PlatformSettings
    database: Database
    blobs: Blobs
    tasks: TaskBoard
    clock: Clock
    call: Callable[[type[C]], C]
    """The binding of another service's contract: local or remote, the caller cannot tell."""


@dataclass(frozen=True)
class Check:
    """A health check: ``run`` raises when unhealthy. Ready depends on it when ``required``."""

    name: str
    run: Callable[[Any], Awaitable[None]]
    required: bool = True


@dataclass(frozen=True)
class Service:
    """A service, listed: what its ``wiring.py`` assigns to ``service``.

    ``implementation`` implements ``contract`` and is built as ``implementation(resources)``. ``uses`` names the contracts it
    calls. ``router`` holds the public routes; ``mounted`` is an existing FastAPI application that answers all else below the path
    of the contract. ``tables`` is its metadata, ``migrations`` the dotted package of its Alembic versions; a service with neither
    and without handlers has no database. ``lifespan(implementation)`` brackets the time in which it works.
    """

    contract: type[Contract]
    implementation: Callable[[Resources[Any]], Contract]
    settings: type[BaseSettings] = NoSettings
    roles: Roles | None = None
    uses: tuple[type[Contract], ...] = ()
    router: APIRouter | None = None
    mounted: MountedApp | None = None
    tables: MetaData | None = None
    migrations: str | None = None
    handlers: tuple[Handler, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    checks: tuple[Check, ...] = ()
    lifespan: Callable[[Any], AbstractAsyncContextManager[None]] | None = None
    phrases: Phrases = field(default_factory=dict)
    """The words of its errors in English and Spanish, by their code."""
    extra: str | None = None
    """The extra of the distribution that brings its heavy dependencies (``pip install 'trenza[images]'``)."""

    @property
    def name(self) -> str:
        """The service's name, from its contract."""
        return self.contract.service

    @property
    def has_database(self) -> bool:
        """Whether anything of it must be stored."""
        return self.tables is not None or bool(self.handlers or self.schedules)
