"""What the image engine counts and times for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter, Histogram

from trenza.chassis.contract import ContractError
from trenza.chassis.telemetry.metrics import registry

__all__ = ["count_given_up", "count_rendered", "measured"]

_PROCESSED: Final = Counter(
    "images_processed_total", "Images worked on, by outcome", ("operation_type", "status"), registry=registry()
)
_DURATION: Final = Histogram(
    "image_processing_duration_seconds",
    "Wall time of an operation on an image, queueing included",
    ("operation_type",),
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    registry=registry(),
)
_RENDERED: Final = Counter(
    "images_rendered_total",
    "Images rendered, by the path that made the renditions (planes, libvips)",
    ("path",),
    registry=registry(),
)
_GIVEN_UP: Final = Counter(
    "image_workers_given_up_total",
    "Workers that ended on a damaged JPEG, which was then left to libvips",
    registry=registry(),
)


def count_rendered(path: str) -> None:
    """Count an image by the path that rendered it."""
    _RENDERED.labels(path).inc()


def count_given_up() -> None:
    """Count a worker that had to end, so that another could do its job without the fast path."""
    _GIVEN_UP.inc()


@contextmanager
def measured(operation_type: str) -> Iterator[None]:
    """Time a block and count it as ``success``, ``refused`` (a declared refusal of the image) or ``error``."""
    started, status = time.perf_counter(), "error"
    try:
        yield
        status = "success"
    except ContractError:
        status = "refused"
        raise
    finally:
        _PROCESSED.labels(operation_type, status).inc()
        _DURATION.labels(operation_type).observe(time.perf_counter() - started)
