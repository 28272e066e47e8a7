"""Counts requests by who sends them, and refuses those that are too many."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from math import ceil
from typing import Any, Final, Literal, NamedTuple

from prometheus_client import Counter
from starlette.types import Scope

from trenza.chassis.auth.permissions import InvalidToken, SeveralAuthorizations, bearer_token, platform_of, verified_principal
from trenza.chassis.blobs.signatures import BLOB_PATH
from trenza.chassis.context import Principal
from trenza.chassis.http.problem import Problem
from trenza.chassis.http.rate_limits.addresses import Addresses
from trenza.chassis.http.rate_limits.shared import open_shared_windows
from trenza.chassis.http.rate_limits.windows import MemoryWindows, Verdict, Windows
from trenza.chassis.rates import Rate
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.metrics import registry

__all__ = ["By", "Caller", "Counted", "RateLimits", "rate_limits_of"]

By = Literal["caller", "address"]

_CALLER: Final = "trenza.rate_limit_caller"
"""The key of an ASGI scope that holds the `Caller`."""
_LONGEST_KEY: Final = 96
"""Characters of a subject that are kept as they are; a digest stands for longer ones, so that keys are bounded as well."""
ANY_ROUTE: Final = "*"
"""Stands for the route where the door refuses: nobody has looked yet which one it would be."""

_limited = Counter(
    "trenza_rate_limited",
    "Requests refused because there were too many, by the limit's name and the route (* where it holds for all)",
    ("scope", "route"),
    registry=registry(),
)


class Counted(NamedTuple):
    """One limit by which a request was counted: its name, the key of its windows, and what came of it."""

    name: str
    key: str
    rate: Rate
    verdict: Verdict


@dataclass(slots=True)
class Caller:
    """Who sends one request, and the limits by which it has been counted so far.

    ``address`` and ``subject`` are keys of windows; ``subject`` is None without a valid token.
    """

    address: str
    subject: str | None = None
    exempt: bool = False
    counted: list[Counted] = field(default_factory=list)


class RateLimits:
    """The limits of one process. It lives at ``app.state.rate_limits``.

    ``at_door=False`` leaves out the limits for everything, for processes behind a gateway that has them; those of routes hold.
    ``now`` is the clock of what is counted in memory; Redis has its own. Raises `InvalidSettings` for a useless
    ``TRENZA_REDIS_URL``.
    """

    def __init__(self, settings: PlatformSettings, *, at_door: bool = True, now: Callable[[], float] = time.monotonic) -> None:
        self.enabled = settings.rate_limit_enabled
        self.at_door = at_door
        local = MemoryWindows(now=now)
        self.shared = open_shared_windows(settings, local) if self.enabled else None
        """The windows in Redis, whose `check` tells whether it answers; None without one."""
        self._windows: Windows = self.shared or local
        self._exempt = frozenset(settings.rate_limit_exempt)
        self._addresses = Addresses(settings.trusted_proxies, header=settings.forwarded_header)
        self._anonymous = _rate(settings.rate_limit_anonymous)
        self._authenticated = _rate(settings.rate_limit_authenticated)

    def caller(self, scope: Scope) -> Caller:
        """Who sends the request of an ASGI scope. A token counts only if it is valid; others are counted by address."""
        known: Caller | None = scope.get(_CALLER)
        if known is None:
            known = scope[_CALLER] = self._identify(scope)
        return known

    async def count_at_door(self, scope: Scope) -> Caller:
        """Count one request by the limit for everything. Raises `Problem` (429), and has not counted it then.

        Signed links (``/blobs/…``) are as good as a token, and come in dozens for one page: they count by address, apart, at the
        rate of tokens.
        """
        caller = self.caller(scope)
        if caller.subject is not None:
            name, rate, key = "authenticated", self._authenticated, caller.subject
        elif scope["path"].removeprefix(scope.get("root_path", "")).startswith(BLOB_PATH):
            name, rate, key = "links", self._authenticated, caller.address
        else:
            name, rate, key = "anonymous", self._anonymous, caller.address
        if rate is not None:
            await self._count(caller, rate, name=name, key=f"door:{name}:{key}")
        return caller

    async def count(
        self, scope: Scope, rate: Rate, *, bucket: str, by: By = "caller", key: str | None = None, route: str | None = None
    ) -> None:
        """Count one request by a rate of its own. Raises `Problem` (429), and has counted it nowhere then.

        Requests of one ``bucket`` (a name that takes few values; it is shown to clients) and one caller count together:
        ``by`` "caller" is the subject of a valid token, else the address; "address" is the address whoever asks. ``key``
        replaces both, for what a request is about: an account that somebody tries to enter, an API key with its own quota.
        ``route`` is the template for the metric, the bucket without one.
        """
        caller = self.caller(scope)
        if key is not None:
            found = f"key:{_bounded(key)}"
        else:
            found = caller.subject if by == "caller" and caller.subject is not None else caller.address
        await self._count(caller, rate, name=bucket, key=f"route:{bucket}:{found}", route=route or bucket)

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self.shared is not None:
            await self.shared.close()

    async def _count(self, caller: Caller, rate: Rate, *, name: str, key: str, route: str = ANY_ROUTE) -> None:
        if caller.exempt or not self.enabled:
            return
        verdict = await self._windows.take(key, rate)
        counted = Counted(name, key, rate, verdict)
        if verdict.allowed:
            caller.counted.append(counted)
            return
        for other in caller.counted:  # what is refused counts nowhere
            await self._windows.give_back(other.key, other.rate, other.verdict.moment)
        caller.counted = [counted]
        _limited.labels(name, route).inc()
        full = verdict.decisive
        problem = Problem(
            429,
            "RATE_LIMITED",
            limit=full.window.amount,
            window_seconds=full.window.seconds,
            retry_after=max(1, ceil(full.seconds)),
        )
        if route == ANY_ROUTE and caller.subject is None:
            problem.fields["field"] = "Authorization"  # a token would help, as the remedy for this field says
        raise problem

    def _identify(self, scope: Scope) -> Caller:
        sent, hops, header = [], [], self._addresses.header
        for name, value in scope["headers"]:
            if name == b"authorization":
                sent.append(value.decode("latin-1"))
            elif name == header:
                hops.append(value)
        address = self._addresses.client(scope, hops)
        principal = _principal(scope, sent) if sent else None
        if principal is None:
            return Caller(address)
        return Caller(address, f"{principal.kind}:{_bounded(principal.subject)}", principal.subject in self._exempt)


def rate_limits_of(connection: Any) -> RateLimits:
    """The limits of the application that serves a request or WebSocket, also within a mounted one."""
    found: RateLimits | None = getattr(platform_of(connection).state, "rate_limits", None)
    if found is None:
        raise RuntimeError("app.state.rate_limits is missing: give install_middleware(…, rate_limits=RateLimits(settings))")
    return found


def _principal(scope: Scope, sent: list[str]) -> Principal | None:
    """Who is believed to ask. What is wrong with the token is for the route to say, if it looks at tokens at all."""
    try:
        token = bearer_token(sent)
        return None if token is None else verified_principal(scope, token)
    except (InvalidToken, SeveralAuthorizations):
        return None


def _rate(text: str) -> Rate | None:
    return None if text == "off" else Rate.read(text)


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST_KEY else f"#{blake2b(text.encode(), digest_size=16).hexdigest()}"
