"""All that the author of a service imports. Names load on first use, so that importing a contract loads nothing else."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trenza.chassis.contract import CallFailed, Contract, ContractError, Event, Task, Value, operation
    from trenza.chassis.messages.definitions import Backoff, Delivery, Postpone, Reject, Schedule, handles, reacts
    from trenza.chassis.service import Check, Resources, Service

__all__ = [
    "Backoff",
    "CallFailed",
    "Check",
    "Contract",
    "ContractError",
    "Delivery",
    "Event",
    "Postpone",
    "Reject",
    "Resources",
    "Schedule",
    "Service",
    "Task",
    "Value",
    "handles",
    "operation",
    "reacts",
]

_HOMES = {
    "trenza.chassis.contract": ("CallFailed", "Contract", "ContractError", "Event", "Task", "Value", "operation"),
    "trenza.chassis.messages.definitions": ("Backoff", "Delivery", "Postpone", "Reject", "Schedule", "handles", "reacts"),
    "trenza.chassis.service": ("Check", "Resources", "Service"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name from its home."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'trenza' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
