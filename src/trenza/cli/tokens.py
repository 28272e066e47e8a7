"""``trenza token``: tokens for local operators, signed with the deployment's own key."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from trenza.chassis.auth.roles import RoleBook
from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.runtime.deployment import read_deployment
from trenza.chassis.runtime.loading import load_services
from trenza.chassis.runtime.signing import signing_key
from trenza.cli.errors import Failure, UsageFailure
from trenza.cli.options import read_settings

__all__ = ["make_token"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=366)
"""A token cannot be taken back, so it may not live for ever."""

LONGEST_SUBJECT = 255
"""In characters. Services keep who did something in columns of this width."""


def make_token(scopes: list[str], *, data_dir: Path | None, subject: str, ttl: str, deployment: str) -> str:
    """A signed token. Raises `Failure` for a scope that no service of the deployment declares."""
    lifetime = _lifetime(ttl)
    services = load_services(read_deployment(deployment).services)
    roles = RoleBook(service.roles for service in services if service.roles is not None)
    if unknown := [scope for scope in scopes if not roles.knows(scope)]:
        shown = ", ".join(scope if scope.isprintable() else repr(scope) for scope in unknown)
        raise Failure(f"unknown scope {shown}; known: {', '.join(sorted(roles.scopes))}")
    if not subject.strip():
        raise UsageFailure("--subject is empty; name whom the token speaks for")
    if not subject.isprintable() or len(subject) > LONGEST_SUBJECT:
        what = "has unprintable characters" if not subject.isprintable() else f"has {len(subject)} characters"
        raise UsageFailure(f"--subject {what}; write a name of at most {LONGEST_SUBJECT} printable characters on one line")
    return issue_token(signing_key(read_settings(data_dir)), subject, dict.fromkeys(scopes), lifetime, kind="operator")


def _lifetime(text: str) -> timedelta:
    """``30m``, ``12h``, ``7d`` as a duration."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    lifetime = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    if lifetime is None or lifetime > LONGEST:
        raise UsageFailure(f"--ttl is {text!r}; write a number and s, m, h or d, at most 366d, for example 12h")
    return lifetime
