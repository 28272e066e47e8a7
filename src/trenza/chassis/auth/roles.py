"""Roles: the scopes that a service knows, and which of them includes which."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["PLATFORM_ROLES", "UNIT", "RoleBook", "Roles"]

UNIT = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""The name of an organisation unit."""
UNIT_MARK = "@"


@dataclass(frozen=True)
class Roles:
    """The roles of one service, the highest first: ``Roles("photos", ("admin", "manager", "editor", "viewer", "public"))``.

    Each is a scope (``photos:editor``). A higher role of the same service includes the lower ones; nothing crosses services.
    """

    service: str
    ordered: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.ordered or len(set(self.ordered)) != len(self.ordered):
            raise ValueError(f"the roles of {self.service} must be at least one and all different: {self.ordered}")
        if wrong := [name for name in (self.service, *self.ordered) if not name.replace("-", "_").isidentifier()]:
            raise ValueError(f"{wrong[0]!r} cannot be part of a scope; use letters, digits, '-' and '_'")

    @property
    def scopes(self) -> tuple[str, ...]:
        """Every scope of the service, the highest first."""
        return tuple(f"{self.service}:{role}" for role in self.ordered)


PLATFORM_ROLES = Roles("platform", ("admin", "viewer"))
"""Operators of the platform itself (metrics, tasks, dead letters). It gives no access to what the services keep."""


class RoleBook:
    """The roles of all services of a deployment, with those of the platform itself."""

    def __init__(self, roles: Iterable[Roles] = ()) -> None:
        self._enough: dict[str, frozenset[str]] = {}
        for declared in (PLATFORM_ROLES, *roles):
            scopes = declared.scopes
            if twice := self._enough.keys() & set(scopes):
                raise ValueError(f"the roles of {declared.service} are declared twice: {sorted(twice)}")
            self._enough.update({scope: frozenset(scopes[: place + 1]) for place, scope in enumerate(scopes)})

    @property
    def scopes(self) -> frozenset[str]:
        """Every scope that exists."""
        return frozenset(self._enough)

    def knows(self, scope: str) -> bool:
        """Whether a token may hold this: a scope that exists, or one for an organisation unit alone (``photos:viewer@NORTE``)."""
        role, restricted, unit = scope.partition(UNIT_MARK)
        return role in self._enough and (not restricted or UNIT.fullmatch(unit) is not None)

    def allows(self, held: Iterable[str], needed: str) -> bool:
        """Whether one of the scopes held is the needed one or a higher role of the same service.

        A scope that nobody declared is never allowed, nor is one that is held for an organisation unit alone (see `units`).
        """
        return not self._enough.get(needed, frozenset()).isdisjoint(held)

    def units(self, held: Iterable[str], needed: str) -> frozenset[str] | None:
        """The organisation units for which the scopes held are enough; None for all of them, empty for none."""
        enough = self._enough.get(needed, frozenset())
        units = set[str]()
        for scope in held:
            role, restricted, unit = scope.partition(UNIT_MARK)
            if role in enough:
                if not restricted:
                    return None
                if UNIT.fullmatch(unit):
                    units.add(unit)
        return frozenset(units)
