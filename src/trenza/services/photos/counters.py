"""What photos counts and times for Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Histogram

from trenza.chassis.telemetry.metrics import registry

__all__ = ["completed", "failed", "processing_seconds", "uploaded"]

uploaded: Final = Counter("photos_uploaded_total", "Photos accepted, duplicates not counted", registry=registry())
completed: Final = Counter("photos_completed_total", "Photos whose versions are stored", registry=registry())
failed: Final = Counter("photos_failed_total", "Photos of which no versions can be made", registry=registry())
processing_seconds: Final = Histogram(
    "photo_processing_seconds",
    "Seconds from the beginning of a photo's last attempt to its stored versions",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    registry=registry(),
)
