"""What the gateway counts for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from trenza.chassis.telemetry.metrics import registry

__all__ = ["IN_FLIGHT", "RETRIES", "SHADOWED", "UPSTREAM_SECONDS"]

UPSTREAM_SECONDS = Histogram(
    "trenza_gateway_upstream_seconds",
    "Seconds from sending a request on to the head of its answer, by service",
    ("service",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    registry=registry(),
)
IN_FLIGHT = Gauge("trenza_gateway_in_flight", "Requests and WebSockets under way, by service", ("service",), registry=registry())
RETRIES = Counter(
    "trenza_gateway_retries",
    "Requests asked again: not_sent (no connection), broken (no answer), unready (503)",
    ("service", "reason"),
    registry=registry(),
)
SHADOWED = Counter(
    "trenza_gateway_shadowed",
    "Requests that both sides were asked: same, status, body (what differs), failed (the other gave no answer), skipped",
    ("prefix", "result"),
    registry=registry(),
)
