"""The whole service over HTTP: a photo is uploaded, and its completion awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from bench.renderers.children import PRESETS, megabytes_of

from trenza.chassis.testing.server_process import ServerProcess

__all__ = ["Service"]

_AT_A_TIME = 5
"""Photos for each reading: the kernel counts a process' time in hundredths of a second."""


class Service:
    """A server with its workers on embedded defaults."""

    def __init__(self, process_id: int, client: httpx.Client) -> None:
        self._process_id = process_id
        self._client = client

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Service]:
        """Start it on a new data folder, and stop it after the block."""
        with asyncio.Runner() as runner:
            context = ServerProcess.running(folder / "data")
            server = runner.run(context.__aenter__())
            try:
                headers = {"Authorization": f"Bearer {runner.run(server.token('photos:admin'))}", "Prefer": "wait=60"}
                with httpx.Client(
                    base_url=server.url, headers=headers, timeout=120, trust_env=False, follow_redirects=True
                ) as client:
                    yield cls(server.process_id, client)
            finally:
                runner.run(context.__aexit__(None, None, None))

    def render(self, how: str, source: Path, folder: Path) -> float:  # noqa: ARG002 - as `Renderer` has it
        """As `Renderer`; the processor time of all processes, for one photo."""
        data = source.read_bytes()
        before = self._seconds()
        for _ in range(_AT_A_TIME):
            # Different from all others by its last bytes: a known photo is not rendered again.
            body = data + os.urandom(8)
            answer = self._client.post("/api/photos/upload", data={"upid": "BENCH"}, files={"file": ("photo.jpg", body)})
            photo = answer.raise_for_status().json()
            if photo["status"] != "completed":
                raise RuntimeError(f"the photo is {photo['status']}: {photo['error']}")
        seconds = (self._seconds() - before) / _AT_A_TIME
        for name, *_ in PRESETS:
            version = self._client.get(f"/api/photos/{photo['id']}/{name}").raise_for_status()
            (folder / f"{name}.jpg").write_bytes(version.content)
        return seconds

    def megabytes(self) -> float:
        """The peaks of memory of all its processes until now, together."""
        return megabytes_of(*(member.pid for member in self._family()))

    def _family(self) -> list[psutil.Process]:
        server = psutil.Process(self._process_id)
        return [server, *server.children(recursive=True)]

    def _seconds(self) -> float:
        return float(sum(sum(member.cpu_times()[:2]) for member in self._family()))
