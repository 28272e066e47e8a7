"""Metrics: what is counted, under which names, and how it is written."""

from __future__ import annotations

from prometheus_client import Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from trenza.chassis.telemetry.metrics import observe_request, registry, render_metrics


def sample(name: str, **labels: str) -> float:
    return registry().get_sample_value(name, labels) or 0.0


def test_a_request_is_counted_and_timed() -> None:
    labels = {"method": "GET", "endpoint": "/api/photos/{photo_id}"}
    counted = sample("http_requests_total", **labels, status_code="200")
    timed, total = sample("http_request_duration_seconds_count", **labels), sample("http_request_duration_seconds_sum", **labels)
    within = sample("http_request_duration_seconds_bucket", **labels, le="0.05")
    observe_request(method="GET", endpoint="/api/photos/{photo_id}", status_code=200, seconds=0.03)
    observe_request(method="GET", endpoint="/api/photos/{photo_id}", status_code=200, seconds=0.3)
    assert sample("http_requests_total", **labels, status_code="200") == counted + 2
    assert sample("http_request_duration_seconds_count", **labels) == timed + 2
    assert abs(sample("http_request_duration_seconds_sum", **labels) - total - 0.33) < 1e-9
    assert sample("http_request_duration_seconds_bucket", **labels, le="0.05") == within + 1


def test_invented_methods_make_one_series() -> None:
    before = sample("http_requests_total", method="OTHER", endpoint="/x", status_code="405")
    for number in range(50):
        observe_request(method=f"BREW{number}", endpoint="/x", status_code=405, seconds=0.001)
    assert sample("http_requests_total", method="OTHER", endpoint="/x", status_code="405") == before + 50
    assert "BREW" not in render_metrics()[0].decode()


def test_the_text_is_what_prometheus_reads() -> None:
    observe_request(method="POST", endpoint='/odd/"{name}"', status_code=201, seconds=0.01)
    body, content_type = render_metrics()
    families = {family.name: family for family in parse(body.decode())}
    assert content_type.startswith("text/plain")
    assert families["http_requests"].type == "counter"
    assert families["http_request_duration_seconds"].type == "histogram"
    assert "process_resident_memory_bytes" in families
    assert "process_open_fds" in families
    assert "python_gc_collections" in families
    assert any(sample.labels.get("endpoint") == '/odd/"{name}"' for sample in families["http_requests"].samples)


def test_openmetrics_for_those_who_ask() -> None:
    body, content_type = render_metrics("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]  # the library leaves this one untyped
    assert "http_requests" in {family.name for family in families}


def test_services_count_in_the_same_registry() -> None:
    counter = Counter("test_things_done", "Things done by a test", registry=registry())
    try:
        counter.inc(3)
        assert b"test_things_done_total 3.0" in render_metrics()[0]
    finally:
        registry().unregister(counter)
