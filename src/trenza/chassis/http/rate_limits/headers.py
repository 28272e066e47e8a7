"""The header fields by which answers tell their clients how much they may still ask."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from typing import Final

from trenza.chassis.http.rate_limits.limiter import Counted
from trenza.chassis.rates import Rate

__all__ = ["RATE_LIMIT_HEADERS", "rate_limit_headers"]

RATE_LIMIT_HEADERS: Final = ("RateLimit", "RateLimit-Limit", "RateLimit-Policy", "RateLimit-Remaining", "RateLimit-Reset")
"""All of them, as CORS exposes them to pages of other origins."""


def rate_limit_headers(counted: Sequence[Counted]) -> list[tuple[bytes, bytes]]:
    """The fields for the limits by which a request was counted, by their names.

    ``RateLimit-Policy`` and ``RateLimit`` list every window (draft-ietf-httpapi-ratelimit-headers-10: ``q`` requests in ``w``
    seconds; ``r`` left, and more in ``t`` seconds). ``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` tell the one to heed, as
    the draft had it up to its version 6 and as most clients read it.
    """
    if not counted:
        return []
    policies, states, decisive = [], [], None
    for name, _, rate, verdict in counted:
        policy, labels = _policy(name, rate)
        policies.append(policy)
        for label, standing in zip(labels, verdict.standings, strict=True):
            states.append(f"{label};r={standing.remaining};t={ceil(standing.seconds)}")
        found = verdict.decisive
        if decisive is None or (found.remaining, -found.seconds) < (decisive.remaining, -decisive.seconds):
            decisive = found
    assert decisive is not None  # noqa: S101 - each was counted by one window at least
    return [
        (b"ratelimit-policy", ", ".join(policies).encode()),
        (b"ratelimit", ", ".join(states).encode()),
        (b"ratelimit-limit", b"%d" % decisive.window.amount),
        (b"ratelimit-remaining", b"%d" % decisive.remaining),
        (b"ratelimit-reset", b"%d" % ceil(decisive.seconds)),
    ]


@lru_cache(1024)
def _policy(name: str, rate: Rate) -> tuple[str, tuple[str, ...]]:
    """A limit's part of ``RateLimit-Policy``, and the names of its windows: strings (RFC 9651), of which none may come twice."""
    shown = "".join(letter if " " <= letter <= "~" and letter not in '"\\' else "_" for letter in name)
    several = len(rate.windows) > 1
    labels = tuple(f'"{shown} {window.seconds}s"' if several else f'"{shown}"' for window in rate.windows)
    parts = (f"{label};q={window.amount};w={window.seconds}" for label, window in zip(labels, rate.windows, strict=True))
    return ", ".join(parts), labels
