"""A server of Kafka's protocol that is one program: how it is started, killed and started again."""

from __future__ import annotations

import subprocess
import time
from abc import abstractmethod
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from trenza.chassis.testing.brokers.protocol import Broker, NotInstalled
from trenza.chassis.testing.server_process import free_port

__all__ = ["KafkaServer", "program_in"]

_START_SECONDS = 60.0
"""A start takes a tenth of a second; this is for machines under heavy load."""
_LOOK_SECONDS = 0.05


def program_in(package: str, *path: str, distribution: str) -> Path:
    """A program that comes within an installed package. Raises `NotInstalled`."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (program := Path(folder, *path)).is_file():
            return program
    raise NotInstalled(f"{distribution} is missing, or has no program for this machine: `make setup` installs it")


class KafkaServer(Broker):
    """A broker of one process on one port of loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = self.told_port = free_port()
        """The first is where it listens. Clients are told the second: that of a proxy, where a test sets it before `start`."""
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self, port: int, folder: Path) -> list[str]:
        """What starts it in the foreground. Raises `NotInstalled`."""

    def url(self, prefix: str) -> str:
        """Its URL; ``prefix`` begins the names of topics and groups."""
        return f"kafka://127.0.0.1:{self.told_port}?prefix={prefix}"

    def environment(self) -> dict[str, str]:
        """Nothing: everything is in the URL."""
        return {}

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens. A proxy before it carries a client's first request only, unless clients are told of the proxy."""
        return ("127.0.0.1", self._port)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def start(self) -> None:
        """Start it; returns when it answers requests. Raises `RuntimeError` with what it said when it ends instead."""
        said = self._folder / "broker.log"
        with said.open("ab") as sink:
            self._process = process = subprocess.Popen(  # noqa: S603 - a program of our own environment
                self.command(self._port, self._folder), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=self._folder
            )
        client = AdminClient({"bootstrap.servers": f"127.0.0.1:{self._port}", "log_level": 0, "reconnect.backoff.max.ms": 100})
        give_up = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < give_up:
            with suppress(KafkaException):
                client.list_topics(timeout=1)
                return
            time.sleep(_LOOK_SECONDS)
        self.stop()
        raise RuntimeError(f"{self.name} does not answer:\n{said.read_text(errors='replace')}")

    def close(self) -> None:
        """Kill it; what it wrote lies in its folder."""
        self.stop()
