"""What others take for the same four renditions: sharp as a library of Node.js, Thumbor over HTTP."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
import psutil
from bench.peers import environment

from trenza.chassis.testing.server_process import free_port

__all__ = ["PEERS", "NotHere", "Taken", "with_sharp", "with_thumbor"]

_HERE = Path(__file__).parent
_MEGABYTE = 1024 * 1024
_START_SECONDS = 30.0

Preset = tuple[str, int, str, int]


class NotHere(Exception):
    """The peer cannot be had on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Taken:
    """Processor time in seconds for one photograph (median of the rounds), and the peak of the process in megabytes."""

    seconds: float
    peak: float


def with_sharp(source: Path, folder: Path, presets: Sequence[Preset], rounds: int) -> Taken:
    """One decode to 2048, from which all versions are made: the quickest of the usual ways. Raises `NotHere`."""
    node = shutil.which("node")
    npm = shutil.which("npm")
    if node is None or npm is None:
        raise NotHere("Node.js and npm are not installed")
    place = _HERE.parent / ".bench" / "sharp"
    place.mkdir(parents=True, exist_ok=True)
    for file in (_HERE / "sharp").iterdir():
        shutil.copy(file, place)
    if not (place / "node_modules").exists():
        install = [npm, "install", "--silent", "--no-audit", "--no-fund"]
        if subprocess.run(install, cwd=place, check=False).returncode:  # noqa: S603 - found above
            raise NotHere("npm could not install sharp")
    command = [node, "renditions.js", str(source), str(folder), str(rounds), json.dumps(presets)]
    done = subprocess.run(command, cwd=place, check=True, capture_output=True, text=True)  # noqa: S603 - our own script
    found = json.loads(done.stdout)
    return Taken(median(found["seconds"]), found["peak"])


def with_thumbor(source: Path, folder: Path, presets: Sequence[Preset], rounds: int) -> Taken:
    """Four requests a photograph, from files, nothing kept; the server's processor time."""
    times: list[float] = []
    with _thumbor(source.parent) as (url, process), httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        for _ in range(rounds + 1):
            before = sum(process.cpu_times()[:2])
            for name, box, fit, quality in presets:
                size = f"fit-in/{box}x{box}" if fit == "inside" else f"{box}x{box}"
                answer = client.get(f"/unsafe/{size}/filters:quality({quality})/{source.name}")
                answer.raise_for_status()
                (folder / f"{name}.jpg").write_bytes(answer.content)
            times.append(sum(process.cpu_times()[:2]) - before)
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return Taken(median(times[1:]), int(status["VmHWM"].split(maxsplit=1)[0]) / 1024)


@contextmanager
def _thumbor(photographs: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server over a folder of photographs."""
    python, port = environment("thumbor"), free_port()
    settings = photographs / "thumbor.conf"
    settings.write_text(
        f"LOADER = 'thumbor.loaders.file_loader'\nFILE_LOADER_ROOT_PATH = {str(photographs)!r}\n"
        "STORAGE = 'thumbor.storages.no_storage'\nALLOW_UNSAFE_URL = True\nRESPECT_ORIENTATION = True\n"
        "PROGRESSIVE_JPEG = True\nMAX_WIDTH = 0\nMAX_HEIGHT = 0\n"
    )
    command = [str(python.parent / "thumbor"), "-c", str(settings), "-i", "127.0.0.1", "-p", str(port), "-l", "error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:  # noqa: S603 - installed above
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/healthcheck", server)
            yield url, psutil.Process(server.pid)
        finally:
            server.terminate()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


PEERS = {"sharp, all from one decode": with_sharp, "Thumbor over HTTP": with_thumbor}
