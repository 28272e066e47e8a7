"""What the tests of calls share: the log lines of this process as objects."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging

LogLines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log_lines() -> LogLines:
    """Gives the log lines written since the start of the test."""
    stream = io.StringIO()
    configure_logging(PlatformSettings(environment="production", log_level="info"), stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
