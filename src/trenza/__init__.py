"""All that the author of a service imports. Names load on first use, so that importing a contract loads nothing else."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trenza.chassis.auth.permissions import public, requires
    from trenza.chassis.auth.roles import Roles
    from trenza.chassis.blobs import BlobMissing
    from trenza.chassis.context import Principal, current_context
    from trenza.chassis.contract import CallFailed, Contract, ContractError, Event, Task, Value, operation
    from trenza.chassis.data import UnitOfWork
    from trenza.chassis.data.types import UtcDateTime
    from trenza.chassis.http.content import respond_with_blob
    from trenza.chassis.http.documentation import documented_problems
    from trenza.chassis.http.mounted import MountedApp
    from trenza.chassis.http.phrases import Phrase, Phrases
    from trenza.chassis.http.problem import Problem
    from trenza.chassis.http.provided import provided
    from trenza.chassis.http.rate_limits import limited
    from trenza.chassis.identifiers import uuid7
    from trenza.chassis.messages.definitions import (
        Backoff,
        Delivery,
        LeaseLost,
        Postpone,
        Reject,
        Retry,
        Schedule,
        handles,
        reacts,
    )
    from trenza.chassis.service import Check, NoSettings, Resources, Service
    from trenza.chassis.telemetry.logs import get_logger

__all__ = [
    "Backoff",
    "BlobMissing",
    "CallFailed",
    "Check",
    "Contract",
    "ContractError",
    "Delivery",
    "Event",
    "LeaseLost",
    "MountedApp",
    "NoSettings",
    "Phrase",
    "Phrases",
    "Postpone",
    "Principal",
    "Problem",
    "Reject",
    "Resources",
    "Retry",
    "Roles",
    "Schedule",
    "Service",
    "Task",
    "UnitOfWork",
    "UtcDateTime",
    "Value",
    "current_context",
    "documented_problems",
    "get_logger",
    "handles",
    "limited",
    "operation",
    "provided",
    "public",
    "reacts",
    "requires",
    "respond_with_blob",
    "uuid7",
]

_HOMES = {
    "trenza.chassis.auth.permissions": ("public", "requires"),
    "trenza.chassis.auth.roles": ("Roles",),
    "trenza.chassis.blobs": ("BlobMissing",),
    "trenza.chassis.context": ("Principal", "current_context"),
    "trenza.chassis.contract": ("CallFailed", "Contract", "ContractError", "Event", "Task", "Value", "operation"),
    "trenza.chassis.data": ("UnitOfWork",),
    "trenza.chassis.data.types": ("UtcDateTime",),
    "trenza.chassis.http.content": ("respond_with_blob",),
    "trenza.chassis.http.documentation": ("documented_problems",),
    "trenza.chassis.http.mounted": ("MountedApp",),
    "trenza.chassis.http.phrases": ("Phrase", "Phrases"),
    "trenza.chassis.http.problem": ("Problem",),
    "trenza.chassis.http.provided": ("provided",),
    "trenza.chassis.http.rate_limits": ("limited",),
    "trenza.chassis.identifiers": ("uuid7",),
    "trenza.chassis.messages.definitions": (
        "Backoff",
        "Delivery",
        "LeaseLost",
        "Postpone",
        "Reject",
        "Retry",
        "Schedule",
        "handles",
        "reacts",
    ),
    "trenza.chassis.service": ("Check", "NoSettings", "Resources", "Service"),
    "trenza.chassis.telemetry.logs": ("get_logger",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name from its home."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'trenza' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
