"""A running server and small photographs for the tests of the command line."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from trenza.chassis.testing.server_process import ServerProcess
from trenza.cli.commands import app


@pytest.fixture
def trenza(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command in this process: ``trenza("token", "photos:editor").stdout``."""
    for variable in ("TRENZA_DATA_DIR", "TRENZA_TOKEN", "TRENZA_URL", "TRENZA_DEPLOYMENT"):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server of its own for the test, on embedded defaults."""
    async with ServerProcess.running(tmp_path / "data") as running:
        yield running


@pytest.fixture
def make_photo(tmp_path: Path) -> Callable[[str], Path]:
    """A JPEG of its own at each call."""

    def make(name: str) -> Path:
        file = tmp_path / name
        noise = Image.frombytes("RGB", (64, 48), os.urandom(64 * 48 * 3)).resize((640, 480))
        buffer = BytesIO()
        noise.save(buffer, "JPEG", quality=85)
        file.write_bytes(buffer.getvalue())
        return file

    return make
