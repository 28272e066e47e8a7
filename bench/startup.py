"""How long the API process takes to start, and what it holds in memory when it has nothing to do."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import httpx
import psutil
from bench.tables import Figures
from bench.waiting import until_answering

from trenza.chassis.testing.server_process import free_port

REPEATS = 7
IDLE_SECONDS = 5.0
STARTUP_LIMIT = 60.0
STOP_LIMIT = 40.0
MEGABYTE = 1024 * 1024
TRENZA = Path(sys.executable).with_name("trenza")


def _seconds(statement: str) -> float:
    """The time of a fresh interpreter that runs a statement, from start to end; the first run warms the disk cache."""
    command = [sys.executable, "-c", statement]
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True)  # noqa: S603 - our own interpreter
        times.append(time.perf_counter() - start)
    return median(times[1:])


def _server() -> tuple[float, float, float, int]:
    """Seconds until ready; then, idle: megabytes of the server process, of all its processes, and how many those are."""
    with tempfile.TemporaryDirectory(prefix="trenza-bench-") as folder:
        port = free_port()
        command = [str(TRENZA), "up", "--port", str(port), "--data-dir", folder]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own program
            try:
                until_answering(
                    process,
                    lambda: httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=1).is_success,
                    name="`trenza up`",
                    within=STARTUP_LIMIT,
                )
                ready = time.perf_counter() - start
                time.sleep(IDLE_SECONDS)
                server = psutil.Process(process.pid)
                family = [server, *server.children(recursive=True)]
                shared = sum(_proportional_bytes(member) for member in family)
                return ready, server.memory_info().rss / MEGABYTE, shared / MEGABYTE, len(family)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(STOP_LIMIT)


def _proportional_bytes(process: psutil.Process) -> int:
    """Memory with shared pages divided among their users (Linux), so that a sum over processes counts each page once."""
    information = process.memory_full_info()
    return int(getattr(information, "pss", information.rss))


def measure() -> Figures:
    """Start things and wait."""
    interpreter = _seconds("pass")
    api = _seconds("import trenza.chassis.runtime.asgi")
    contract = _seconds("import trenza.services.photos.contract")
    ready, server, family, processes = _server()
    return Figures(
        title="Start and idle memory",
        how=f"Imports: median of {REPEATS} fresh processes, files cached, the interpreter's own time included. Ready: from "
        f"`trenza up` on an empty data folder to 200 on /health/ready. Idle: {IDLE_SECONDS:g} s later. Promise: cold import of "
        "the API process in less than 1 s.",
        columns=("what", "figure", "over a bare interpreter"),
        rows=(
            ("bare interpreter", f"{interpreter * 1000:.0f} ms", "1.0x"),
            ("import of a contract", f"{contract * 1000:.0f} ms", f"{contract / interpreter:.1f}x"),
            ("import of the API process", f"{api * 1000:.0f} ms", f"{api / interpreter:.1f}x"),
            ("trenza up until ready", f"{ready * 1000:.0f} ms", f"{ready / interpreter:.1f}x"),
            ("idle memory of the server (RSS)", f"{server:.0f} MB", ""),
            (f"idle memory of all {processes} processes (PSS)", f"{family:.0f} MB", ""),
        ),
    )
