"""What pytest needs to run one test body in several ways."""

from __future__ import annotations

import pytest

from trenza.chassis.testing.modes import CALL_MODES

__all__ = ["call_modes"]

call_modes = pytest.mark.parametrize("call_mode", CALL_MODES)
"""Run a test once in each call mode: it takes ``call_mode: CallMode`` and gives it to `bind`."""
