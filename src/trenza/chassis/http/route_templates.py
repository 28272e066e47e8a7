"""Which routes a request concerns: the template of the one that answered, and the methods that its path takes."""

from __future__ import annotations

from typing import Any

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.types import Scope

__all__ = ["UNMATCHED", "RouteTemplates", "allowed_methods"]

UNMATCHED = "(none)"
"""Stands for every path without a route, so that a scan of the server cannot make a time series per path."""


class RouteTemplates:
    """Finds templates: ``/api/photos/{photo_id}``, never the path with its ids.

    FastAPI leaves the route as it was declared in the scope, without the prefixes of its routers.
    """

    def __init__(self) -> None:
        self._routes: dict[int, list[RouteContext]] = {}

    def template(self, scope: Scope) -> str:
        """The whole template of the route in a scope that has passed through the application, or `UNMATCHED`."""
        route = scope.get("route")
        if route is None:
            return UNMATCHED
        if id(route) not in self._routes:
            self._learn(scope["app"])
        contexts = self._routes.setdefault(id(route), [])
        if len(contexts) == 1:
            found = contexts[0].path_format
        else:  # one router, included more than once
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            found = next((c.path_format for c in contexts if _matches(c, path)), None)
        return str(found or getattr(route, "path_format", None) or UNMATCHED)

    def _learn(self, app: Any) -> None:
        learned: dict[int, list[RouteContext]] = {}
        for context in iter_route_contexts(app.routes):
            learned.setdefault(id(context.original_route), []).append(context)
        self._routes.update(learned)  # each context keeps its route alive, so that no id is used again


def allowed_methods(scope: Scope) -> tuple[str, ...]:
    """All methods that the path of a request takes, whichever routes they belong to; for the Allow header."""
    app = scope.get("app")
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    found = {
        method
        for context in iter_route_contexts(app.routes if app else ())
        if _matches(context, path)
        for method in context.methods or ()
    }
    return tuple(sorted(found))


def _matches(context: RouteContext, path: str) -> bool:
    pattern = getattr(context, "path_regex", None)
    return pattern is not None and pattern.match(path) is not None
