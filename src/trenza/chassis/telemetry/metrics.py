"""Figures for Prometheus: the registry that every part of this process counts in, and the HTTP figures themselves."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

__all__ = ["observe_request", "registry", "render_metrics"]

_registry = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=_registry)
PlatformCollector(registry=_registry)
GCCollector(registry=_registry)

_KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Seconds. The promises (an upload acknowledged in 50 ms, an API answer in 200 ms) are edges: what keeps them can be counted.
_DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_requests = Counter(
    "http_requests_total", "Requests answered, by route template", ("method", "endpoint", "status_code"), registry=_registry
)
_durations = Histogram(
    "http_request_duration_seconds",
    "Seconds from the arrival of a request to the end of its answer",
    ("method", "endpoint"),
    buckets=_DURATION_BUCKETS,
    registry=_registry,
)


def registry() -> CollectorRegistry:
    """Where every metric of this process is registered: ``Counter("photos_completed", "…", registry=registry())``.

    Labels take few values: templates, names and states, never ids, paths or user input.
    """
    return _registry


def observe_request(*, method: str, endpoint: str, status_code: int, seconds: float) -> None:
    """Count one answered request. ``endpoint`` is the route's template (``/api/photos/{photo_id}``), never the raw path."""
    method = method if method in _KNOWN_METHODS else "OTHER"  # clients may invent methods, and a series is for ever
    _requests.labels(method, endpoint, str(status_code)).inc()
    _durations.labels(method, endpoint).observe(seconds)


def render_metrics(accept: str = "") -> tuple[bytes, str]:
    """All metrics and their content type: OpenMetrics where the ``Accept`` header asks for it, else Prometheus' text format."""
    encode, content_type = choose_encoder(accept)
    return encode(_registry), content_type
