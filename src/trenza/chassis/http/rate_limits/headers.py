"""The header fields by which answers tell their clients how much they may still ask."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from typing import Final

from trenza.chassis.http.rate_limits.limiter import Counted

__all__ = ["RATE_LIMIT_HEADERS", "rate_limit_headers"]

RATE_LIMIT_HEADERS: Final = ("RateLimit", "RateLimit-Limit", "RateLimit-Policy", "RateLimit-Remaining", "RateLimit-Reset")
"""All of them, as CORS exposes them to pages of other origins."""


def rate_limit_headers(counted: Sequence[Counted]) -> list[tuple[bytes, bytes]]:
    """The fields for the limits by which a request was counted, by their names.

    ``RateLimit-Policy`` and ``RateLimit`` list every window (draft-ietf-httpapi-ratelimit-headers-10: ``q`` requests in ``w``
    seconds; ``r`` left, and more in ``t`` seconds). ``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` tell the one to heed, as
    the draft had it up to its version 6 and as most clients read it.
    """
    decisive = None
    policies, states = [], []
    for name, _, _, verdict in counted:
        several = len(verdict.standings) > 1
        for standing in verdict.standings:
            label = _label(name, standing.window.seconds if several else 0)
            seconds = ceil(standing.seconds)
            policies.append(f"{label};q={standing.window.amount};w={standing.window.seconds}")
            states.append(f"{label};r={standing.remaining};t={seconds}")
            if decisive is None or (standing.remaining, -seconds) < (decisive[1], -decisive[2]):
                decisive = standing.window.amount, standing.remaining, seconds
    if decisive is None:
        return []
    return [
        (b"ratelimit-policy", ", ".join(policies).encode()),
        (b"ratelimit", ", ".join(states).encode()),
        (b"ratelimit-limit", b"%d" % decisive[0]),
        (b"ratelimit-remaining", b"%d" % decisive[1]),
        (b"ratelimit-reset", b"%d" % decisive[2]),
    ]


@lru_cache(1024)
def _label(name: str, seconds: int) -> str:
    """A limit's name as a string of structured fields (RFC 9651), of which none may come twice in a list."""
    shown = "".join(letter if " " <= letter <= "~" and letter not in '"\\' else "_" for letter in name)
    return f'"{shown} {seconds}s"' if seconds else f'"{shown}"'
