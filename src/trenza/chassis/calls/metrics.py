"""What Prometheus is told about calls to other processes."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from trenza.chassis.telemetry.metrics import registry

__all__ = ["CALLS", "CALL_RETRIES", "CALL_SECONDS", "REJECTED"]

CALLS = Counter(
    "trenza_calls_total",
    "Calls to other processes that ended, by outcome: result, refused, broke, timed-out, not-run, failed (no answer), foreign"
    " (an answer of something else), rejected (not tried) or cancelled",
    ("callee", "operation", "outcome"),
    registry=registry(),
)
CALL_SECONDS = Histogram(
    "trenza_call_seconds",
    "Seconds of a call to another process, retries and their pauses included",
    ("callee", "operation"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    registry=registry(),
)
CALL_RETRIES = Counter(
    "trenza_call_retries_total",
    "Further attempts: unreachable (nothing was sent), away (it says that it does not run calls now), failed (unknown outcome)",
    ("callee", "reason"),
    registry=registry(),
)
REJECTED = Counter(
    "trenza_calls_rejected_total",
    "What was not tried: breaker (it is open), bulkhead (too many calls under way), budget (a retry too many)",
    ("callee", "reason"),
    registry=registry(),
)
