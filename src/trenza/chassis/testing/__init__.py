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

__all__ = [
    "CALL_MODES",
    "AsgiTransport",
    "BrokenPromise",
    "CallMode",
    "ManualClock",
    "bind",
    "call_modes",
    "repeating",
]

_HOME_OF = {
    "AsgiTransport": "asgi",
    "BrokenPromise": "repeating",
    "CALL_MODES": "modes",
    "CallMode": "modes",
    "ManualClock": "clock",
    "bind": "modes",
    "call_modes": "marks",
    "repeating": "repeating",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
