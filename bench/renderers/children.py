"""Programs that make renditions outside of this process, each asked in its own way: what they took, and their peak of memory."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Protocol

import httpx
import psutil
from bench.peers import environment, node_modules
from bench.waiting import until_answering

from trenza.chassis.testing.server_process import free_port

__all__ = ["PRESETS", "Child", "Renderer", "Thumbor", "megabytes_of", "sharp", "simplejpeg"]

PRESETS: Final[tuple[tuple[str, int, Literal["inside", "cover"], int], ...]] = (
    ("large", 2048, "inside", 82),
    ("medium", 1280, "inside", 72),
    ("small", 640, "inside", 75),
    ("thumbnail", 320, "cover", 75),
)
"""Name, box, fit and quality of each version: what photos orders by default, largest first."""
_HERE: Final = Path(__file__).parent
_START_SECONDS: Final = 30.0


class Renderer(Protocol):
    """Something that writes the versions of a source into a folder."""

    def render(self, how: str, source: Path, folder: Path) -> float:
        """Do it, and say how much processor time it took, in seconds."""


def megabytes_of(*process_ids: int) -> float:
    """The peak of memory of these processes until now. Not getrusage: its peak starts with that of the parent."""
    total = 0
    for process_id in process_ids:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process_id}/status").read_text().splitlines())
        total += int(status["VmHWM"].split(maxsplit=1)[0])
    return total / 1024


class Child:
    """A program that answers lines of JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def running(cls, command: tuple[str, ...], more: Mapping[str, str]) -> Iterator[Child]:
        """Start it, and end it after the block."""
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **more}) as process:  # noqa: S603 - our own programs
            try:
                yield cls(process)
            finally:
                process.kill()

    def render(self, how: str, source: Path, folder: Path) -> float:
        """As `Renderer`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"how": how, "source": str(source), "folder": str(folder), "presets": PRESETS}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"it ended with {self._process.wait()}")
        return float(json.loads(answer)["seconds"])

    def megabytes(self) -> float:
        """Its peak of memory until now."""
        return megabytes_of(self._process.pid)


@contextmanager
def sharp() -> Iterator[Child]:
    """The npm package sharp, ``how`` "clone" or "chain"; raises FileNotFoundError without Node."""
    node, modules = node_modules("sharp")
    with Child.running((node, str(_HERE / "with_sharp.cjs")), {"NODE_PATH": str(modules)}) as child:
        yield child


@contextmanager
def simplejpeg() -> Iterator[Child]:
    """The bounds by simplejpeg, ``how`` "baseline" or "progressive"."""
    python = environment("simplejpeg")
    with Child.running((str(python), str(_HERE / "with_simplejpeg.py")), {}) as child:
        yield child


class Thumbor:
    """A Thumbor that serves a folder. Each version is a request, as its users make them; nothing is kept."""

    def __init__(self, process: psutil.Popen, client: httpx.Client) -> None:
        self._process = process
        self._client = client

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Thumbor]:
        """Start it, and end it after the block. Its settings and its log lie beside the pictures."""
        thumbor = environment("thumbor").parent / "thumbor"
        settings, port = folder / "thumbor.conf", free_port()
        settings.write_text(
            "LOADER = 'thumbor.loaders.file_loader'\n"
            f"FILE_LOADER_ROOT_PATH = {str(folder)!r}\n"
            "STORAGE = 'thumbor.storages.no_storage'\n"
            "RESULT_STORAGE = None\n"
            "ALLOW_UNSAFE_URL = True\n"
            "RESPECT_ORIENTATION = True\n"
            "PROGRESSIVE_JPEG = True\n"
        )
        command = (str(thumbor), "-i", "127.0.0.1", "-p", str(port), "-c", str(settings), "-l", "error")
        with (
            (folder / "thumbor.log").open("wb") as log,
            psutil.Popen(command, stdout=log, stderr=log) as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client,
        ):
            try:
                until_answering(
                    process,
                    lambda: client.get("/healthcheck").is_success,
                    name="Thumbor",
                    within=_START_SECONDS,
                    said=lambda: (folder / "thumbor.log").read_text(errors="replace")[-500:],
                )
                yield cls(process, client)
            finally:
                process.kill()

    def render(self, how: str, source: Path, folder: Path) -> float:  # noqa: ARG002 - as `Renderer` has it
        """As `Renderer`."""
        before = sum(self._process.cpu_times()[:2])
        for name, box, fit, quality in PRESETS:
            inside = "fit-in/" if fit == "inside" else ""
            answer = self._client.get(f"/unsafe/{inside}{box}x{box}/filters:quality({quality})/{source.name}")
            (folder / f"{name}.jpg").write_bytes(answer.raise_for_status().content)
        return float(sum(self._process.cpu_times()[:2]) - before)

    def megabytes(self) -> float:
        """Its peak of memory until now."""
        return megabytes_of(self._process.pid)
