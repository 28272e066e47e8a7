"""Who may call which route of an application that was not written for Trenza."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from fastapi import FastAPI
from fastapi.params import Depends
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope

from trenza.chassis.auth.permissions import Guard, PublicAccess, RequiredScope, guards_of, judge_route
from trenza.chassis.http.problem import Problem

__all__ = ["MountedApp"]

ANY: Final = "*"
_DOCUMENT: Final = PublicAccess("it shows the API, no data")


@dataclass(frozen=True)
class MountedApp:
    """A FastAPI application that joins as the HTTP of a service, unchanged: ``Service(…, mounted=MountedApp(app, access={…}))``.

    It is served below the one path of the service's contract, and its lifespan runs while the service works. Its middleware, its
    error handlers and its answers stay its own; only what nobody in it handles becomes a problem document.

    ``access`` says who may call which route, under the method and path by which the application declares it:
    ``{"GET /entries/{entry_id}": public("…"), "POST /entries": requires("diary:editor")}``. ``"* /static"`` is every method of a
    path and the key of a mount or WebSocket; ``"*"`` is every route that is not named. A route may also carry `requires` or
    `public` among its own dependencies. The boot refuses what has neither. The pages that show the application's API are public.
    """

    app: FastAPI
    access: Mapping[str, Any]

    def __post_init__(self) -> None:
        for key, value in self.access.items():
            guard = value.dependency if isinstance(value, Depends) else None
            if not isinstance(guard, Guard):
                raise TypeError(f"access[{key!r}] is a {type(value).__name__}; write requires(…) or public(…)")
            if isinstance(guard, RequiredScope) and guard.by_unit:
                raise TypeError(f"access[{key!r}]: by_unit=True is for a route that asks for the caller's units itself")

    @property
    def document_paths(self) -> tuple[str, ...]:
        """The application's own pages and document that show its API, without the prefix."""
        app = self.app
        paths = (app.openapi_url, app.docs_url, app.redoc_url, app.docs_url and app.swagger_ui_oauth2_redirect_url)
        return tuple(path for path in paths if path)

    def guard_of(self, scope: Scope) -> Guard | None:
        """What the route that is going to answer demands; None where it asks by itself, and where none answers (404, 405).

        The routes are those of this moment, in the order in which the application tries them. Raises `Problem` (403) for one that
        nobody has declared: it was added after the boot.
        """
        probe = dict(scope)
        for context in iter_route_contexts(self.app.routes):
            if context.matches(probe)[0] is Match.FULL:
                if _own_guards(context):
                    return None
                return self.declared(scope.get("method", ANY), context.path or "") or _refuse()
        return self.declared(ANY, "") or _refuse() if self._has_late_routes() else None

    def declared(self, method: str, path: str) -> Guard | None:
        """What ``access`` says of a route; HEAD is what GET is unless it is named itself."""
        methods = (method, "GET") if method == "HEAD" else (method,)
        for key in (*(f"{name} {path}" for name in methods), f"{ANY} {path}"):
            if key in self.access:
                return self._guard(key)
        if path in self.document_paths:
            return _DOCUMENT
        return self._guard(ANY) if ANY in self.access else None

    def problems(self, prefix: str, known: Collection[str]) -> Iterator[str]:
        """What is wrong with the permissions of the application, a sentence each with its remedy."""
        for key, value in self.access.items():
            if isinstance(value.dependency, RequiredScope) and value.dependency.scope not in known:
                scope = value.dependency.scope
                yield f"access[{key!r}] requires {scope!r}, which no Roles declares; the service's wiring lists its roles"
        keys = {ANY}
        for context in iter_route_contexts(self.app.routes):
            own = {key for method in _methods(context) for key in (f"{method} {context.path}", f"{ANY} {context.path}")}
            keys |= own
            if _own_guards(context):
                yield from judge_route(f"{prefix}{context.path}", context, frozenset(known), plain_is_fine=False)
                for key in sorted(own & self.access.keys()):
                    yield f"{key}: carries its permission itself and is in access as well; keep one"
                continue
            for method in _methods(context):
                if self.declared(method, context.path or "") is None:
                    key = f"{method} {context.path}"
                    yield f"{method} {prefix}{context.path}: has no permission; add {key!r}: requires(…) or public(…) to access"
        for key in self.access.keys() - keys:
            near = get_close_matches(key, keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"write one of {', '.join(sorted(keys))}"
            yield f"access names {key!r}, which is no route of the application; {hint}"
        if self._has_late_routes() and ANY not in self.access:
            yield f"app.frontend() at {prefix}: has no permission; add {ANY!r}: requires(…) or public(…) to access"

    def _guard(self, key: str) -> Guard:
        guard: Guard = self.access[key].dependency
        return guard

    def _has_late_routes(self) -> bool:
        """Whether FastAPI tries more routes after the others (``app.frontend``). It lists them nowhere public."""
        late = getattr(self.app.router, "_iter_low_priority_routes", None)
        return late is not None and next(iter(late()), None) is not None


def _own_guards(context: RouteContext) -> list[Guard]:
    dependant = getattr(context, "dependant", None)
    return [] if dependant is None else list(guards_of(dependant))


def _methods(context: RouteContext) -> list[str]:
    return sorted(context.methods or (ANY,))


def _refuse() -> Guard:
    raise Problem(403, "FORBIDDEN", detail="Nobody has said who may call this; its service was started without it.")
