"""What tests of services stand on: in-memory doubles that ship with the product, and contracts bound in each call mode.

Names load on first use: a production process that imports one double needs no pytest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trenza.chassis.testing.asgi import AsgiTransport
    from trenza.chassis.testing.clock import ManualClock
    from trenza.chassis.testing.marks import call_modes
    from trenza.chassis.testing.modes import CALL_MODES, CallMode, bind
    from trenza.chassis.testing.repeating import BrokenPromise, repeating
    from trenza.chassis.testing.services import MessagesFailed, RunningServices, run_services, stand_in
    from trenza.chassis.testing.tables import differences_of_tables

__all__ = [
    "CALL_MODES",
    "AsgiTransport",
    "BrokenPromise",
    "CallMode",
    "ManualClock",
    "MessagesFailed",
    "RunningServices",
    "bind",
    "call_modes",
    "differences_of_tables",
    "repeating",
    "run_services",
    "stand_in",
]

_HOME_OF = {
    "AsgiTransport": "asgi",
    "BrokenPromise": "repeating",
    "CALL_MODES": "modes",
    "CallMode": "modes",
    "ManualClock": "clock",
    "MessagesFailed": "services",
    "RunningServices": "services",
    "bind": "modes",
    "call_modes": "marks",
    "differences_of_tables": "tables",
    "repeating": "repeating",
    "run_services": "services",
    "stand_in": "services",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
