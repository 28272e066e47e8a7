"""Photographs for the tests that break things."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image


@pytest.fixture
def make_photo() -> Callable[[], bytes]:
    """A JPEG whose bytes nobody has sent before, large enough to keep a worker busy for some tens of milliseconds."""

    def make() -> bytes:
        buffer = BytesIO()
        Image.frombytes("RGB", (64, 48), os.urandom(64 * 48 * 3)).resize((1600, 1200)).save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    return make
