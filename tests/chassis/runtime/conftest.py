"""Ports and processes for the tests of the runtime."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.settings import PlatformSettings


@pytest.fixture
def free_port() -> int:
    """A port that nothing listens on, below the ephemeral range."""
    while True:
        port = random.randint(20_000, 30_000)  # noqa: S311 - no secret
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


@pytest.fixture
def make_production() -> Callable[[Path], PlatformSettings]:
    """Settings that production accepts, with their key and data below the folder."""

    def make(folder: Path) -> PlatformSettings:
        key = folder / "signing.pem"
        SigningKey.load_or_create(key)
        return PlatformSettings(
            environment="production",
            data_dir=folder / "data",
            signing_key_file=key,
            blobs_secret=SecretStr("s" * 32),
            public_url="https://photos.example",
        )

    return make
