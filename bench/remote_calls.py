"""What a call to another process costs: a contract over the network, beside FastAPI with a client by hand, and gRPC."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from bench.peers import environment
from bench.tables import Figures

ROUNDS = int(os.environ.get("BENCH_CALL_ROUNDS", "5"))
CALLS = int(os.environ.get("BENCH_CALLS", "2000"))
LIMIT_SECONDS = 120
_FOLDER = Path(__file__).parent / "callers"
_WAYS = {
    "FastAPI and httpx2 by hand": "httpx2",
    "gRPC (grpc.aio)": "grpc",
    "Trenza": "trenza",
}
_BASE = "FastAPI and httpx2 by hand"


@dataclass
class Measured:
    """What the rounds of one way gave: seconds, seconds, calls a second, seconds of CPU of the caller."""

    middle: list[float] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)
    many: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Way:
    """One way of calling: its script, and where its server listens."""

    script: str
    port: int
    data: Path

    def command(self, action: str) -> list[str]:
        """How its script is called."""
        python = sys.executable if self.script == "trenza" else str(environment(self.script))
        options = ["--port", str(self.port), "--data", str(self.data), "--count", str(CALLS)]
        return [python, str(_FOLDER / f"with_{self.script}.py"), action, *options]


def _free_port() -> int:
    while True:
        port = random.randint(20_000, 30_000)  # noqa: S311 - any will do
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def _surroundings() -> dict[str, str]:
    """The environment of a script: without settings of ours and proxies of others, and with this project to import from."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("TRENZA_") and "proxy" not in name.lower()}
    return {**kept, "PYTHONPATH": str(_FOLDER.parents[1])}


@contextmanager
def _serving(script: str) -> Iterator[Way]:
    """A server in a process of its own, for the block."""
    with tempfile.TemporaryDirectory() as data:
        way = Way(script, _free_port(), Path(data))
        server = subprocess.Popen(way.command("serve"), stdout=subprocess.PIPE, env=_surroundings(), text=True)  # noqa: S603 - our own scripts
        try:
            if server.stdout is None or server.stdout.readline() != "ready\n":
                sys.exit(f"the server of {script} did not start")
            yield way
        finally:
            server.kill()
            server.communicate()


def _round(way: Way, found: Measured) -> None:
    done = subprocess.run(  # noqa: S603 - our own scripts
        way.command("call"), capture_output=True, env=_surroundings(), text=True, check=False, timeout=LIMIT_SECONDS
    )
    if done.returncode:
        sys.exit(f"the caller of {way.script} failed:\n{done.stderr}")
    answer = json.loads(done.stdout)
    found.middle.append(median(answer["one"]))
    found.slow.append(quantiles(answer["one"], n=100)[98])
    found.many.append(answer["many"])
    found.cpu.append(answer["cpu"])


def measure() -> Figures:
    """Call in every way and compare; the ways take turns, so that a busy moment of the machine hits all of them."""
    found = {title: Measured() for title in _WAYS}
    with ExitStack() as servers:
        ways = {title: servers.enter_context(_serving(script)) for title, script in _WAYS.items()}
        for _ in range(ROUNDS):
            for title, way in ways.items():
                _round(way, found[title])
    base = median(found[_BASE].middle)

    def row(title: str, one: Measured) -> tuple[str, ...]:
        middle = median(one.middle)
        times = (f"{middle * 1e6:.0f}", f"{median(one.slow) * 1e6:.0f}", f"{middle / base:.2f}x")
        return (title, *times, f"{median(one.cpu) * 1e6:.0f}", f"{median(one.many):.0f}")

    return Figures(
        title="Calls to another process",
        how=f"A small value is asked for and answered over loopback, caller and callee in a process each; median of {ROUNDS} "
        f"interleaved rounds of {CALLS} calls. p50 and p99: one call after another; by hand is 1.00x. CPU: of the caller "
        "alone. Calls/s: 16 at once. Trenza is the whole application with middleware, and a caller that sends a passport, a "
        "deadline and a correlation id, watched by breaker, bulkhead and metrics; neither of the others has any of that, but "
        "gRPC's deadline. No access logs. Promise: p50 below 1 ms.",
        columns=("way", "p50 µs", "p99 µs", "to by hand", "CPU µs", "calls/s"),
        rows=tuple(row(title, one) for title, one in found.items()),
    )
