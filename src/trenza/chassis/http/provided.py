"""The dependency that hands a route the implementation of its service."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from trenza.chassis.auth.permissions import platform_of

__all__ = ["provided"]


@cache
def provided(implementation: type) -> Any:
    """Give a route the running implementation of its service.

    Written once in ``routes.py`` and then used as a type: ``Photos = Annotated[PhotosService, provided(PhotosService)]``. The
    instance is looked up in ``app.state.implementations``, which the runtime (or a test) fills by class.
    """

    async def look_up(connection: HTTPConnection) -> Any:
        implementations = getattr(platform_of(connection).state, "implementations", {})
        if implementation not in implementations:
            name = implementation.__name__
            message = f"app.state.implementations holds no {name}: put the instance there, under its class, when the app is made"
            raise RuntimeError(message)
        return implementations[implementation]

    return Depends(look_up)
