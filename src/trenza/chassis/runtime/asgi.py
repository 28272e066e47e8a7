"""The application for any ASGI server: ``uvicorn --factory trenza.chassis.runtime.asgi:create``, or ``…asgi:app``.

The deployment is the one that ``TRENZA_DEPLOYMENT`` names (``monolith`` by default); of one with several processes
``TRENZA_PROCESS`` names the one. Under such a server its own options decide about ports and time-outs; `trenza up` is the one
that bounds the drain.
"""

# ruff: noqa: E402 - the collector's pause begins before the imports that it is for

from __future__ import annotations

import gc
import os
from typing import Any

gc.disable()  # nothing that the imports make is garbage; looking for it takes a third of a cold start

from starlette.types import ASGIApp

from trenza.chassis.runtime.application import create_app
from trenza.chassis.runtime.deployment import read_deployment
from trenza.chassis.settings import PlatformSettings, load_settings
from trenza.chassis.telemetry.logs import configure_logging

gc.freeze()  # what they have made stays until the end: no later collection need look at it
gc.enable()

__all__ = ["create"]

_made: dict[str, ASGIApp] = {}


def create() -> ASGIApp:
    """A new application from the environment, behind its gateway."""
    settings = load_settings(PlatformSettings)
    configure_logging(settings)
    deployment = read_deployment(os.environ.get("TRENZA_DEPLOYMENT", "monolith"))
    entrance: ASGIApp = create_app(deployment, settings, process=os.environ.get("TRENZA_PROCESS")).state.entrance
    return entrance


def __getattr__(name: str) -> Any:
    """``app``: made when a server first asks for it, not when this module is imported."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _made:
        _made[name] = create()
    return _made[name]
