"""How patient a process is with one peer: the figures of its breaker, its bulkhead and its retries."""

from __future__ import annotations

from dataclasses import dataclass

from trenza.chassis.settings import PlatformSettings

__all__ = ["CONNECT_SECONDS", "KEEP_ALIVE_SECONDS", "PeerLimits"]

CONNECT_SECONDS = 2.0
"""How long a connection may take to be made: time for one lost SYN, which is sent again after 1 s (RFC 6298, section 2.1)."""
KEEP_ALIVE_SECONDS = 50.0
"""How long an idle connection is kept. Less than the 75 s of our server and the 60 s of common proxies, so that it is us who
close it: a request that meets the closing from the other side has an unknown outcome."""


@dataclass(frozen=True)
class PeerLimits:
    """The figures; the defaults are those of the platform's specification."""

    failure_threshold: int = 5
    """Failures in a row that open the breaker."""
    recovery_seconds: float = 60.0
    """How long it stays open before it lets a probe through."""
    successes_to_close: int = 2
    """Probes in a row that must succeed before it closes."""
    concurrency: int = 64
    """Calls to one peer that may be under way at once."""
    retry_seconds: float = 1.0
    """The longest pause before the first retry; it doubles for each further one."""

    @classmethod
    def of(cls, settings: PlatformSettings) -> PeerLimits:
        """Those that ``TRENZA_CALL_*`` set."""
        return cls(
            failure_threshold=settings.call_failure_threshold,
            recovery_seconds=settings.call_recovery_seconds,
            successes_to_close=settings.call_successes_to_close,
            concurrency=settings.call_concurrency,
            retry_seconds=settings.call_retry_seconds,
        )
