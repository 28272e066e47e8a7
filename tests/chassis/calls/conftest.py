"""What the tests of calls share: the log lines of this process as objects."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging

LogLines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log_lines() -> Iterator[LogLines]:
    """Gives the log lines written since the start of the test."""
    before, handlers, level = structlog.get_config(), logging.root.handlers[:], logging.root.level
    stream = io.StringIO()
    configure_logging(PlatformSettings(environment="production", log_level="info"), stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
