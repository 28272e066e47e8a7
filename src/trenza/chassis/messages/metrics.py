"""What Prometheus is told about messages."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from trenza.chassis.telemetry.metrics import registry

__all__ = ["DEPTH", "HANDLED", "HANDLING_SECONDS", "OLDEST_SECONDS", "RECEIVED", "RELAYED"]

HANDLED = Counter(
    "messages_handled_total",
    "Attempts that ended, by outcome: completed, retried, failed, postponed, cancelled, released or lost",
    ("service", "consumer", "outcome"),
    registry=registry(),
)
HANDLING_SECONDS = Histogram(
    "messages_handling_seconds",
    "Seconds that a handler ran",
    ("service", "consumer"),
    buckets=(0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0),
    registry=registry(),
)
RELAYED = Counter(
    "messages_relayed_total", "Messages that the transport took over from the outbox", ("service",), registry=registry()
)
RECEIVED = Counter(
    "messages_received_total",
    "Messages that the transport delivered and the inbox stored or, where it had them, ignored",
    ("service",),
    registry=registry(),
)
DEPTH = Gauge(
    "messages_depth", "Messages that have not ended, by box and state", ("service", "box", "state"), registry=registry()
)
OLDEST_SECONDS = Gauge(
    "messages_oldest_seconds",
    "Age of the oldest message that could be handled (inbox) or sent (outbox) now",
    ("service", "box"),
    registry=registry(),
)
