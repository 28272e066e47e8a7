"""Debian's RabbitMQ as a broker for tests: a node of its own on loopback, run by whoever runs the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from trenza.chassis.testing.brokers.protocol import Broker, NotInstalled
from trenza.chassis.testing.server_process import free_port

__all__ = ["RabbitMQ"]

_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""What the command in ``/usr/sbin`` calls after it has changed to the user ``rabbitmq``, which takes root."""
_START_SECONDS = 120.0
"""A start takes six seconds; this is for machines under heavy load."""
_STOP_SECONDS = 30.0
_CONFIGURATION = """\
log.file.level = warning
raft.wal_max_size_bytes = 67108864
"""
_GREETING = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"


class RabbitMQ(Broker):
    """One node. Its name, ports, folders and epmd (Erlang's register of nodes) are its own: several run side by side."""

    name = "RabbitMQ"
    lasting = True

    def __init__(self, folder: Path) -> None:
        epmd = shutil.which("epmd")
        if epmd is None or not _SCRIPT.exists():
            raise NotInstalled("apt-get install rabbitmq-server")
        self._epmd_command = epmd
        self._folder = folder
        self._output = folder / "output.txt"
        self._port, self._distribution_port, self._epmd_port = free_port(), free_port(), free_port()
        self._node_name = f"trenza{self._port}@localhost"
        self._node: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rabbitmq.conf").write_text(_CONFIGURATION)

    def url(self, prefix: str) -> str:
        """The one user that a fresh node has."""
        return f"amqp://guest:guest@127.0.0.1:{self._port}/%2F?prefix={prefix}"

    def environment(self) -> dict[str, str]:
        """Nothing: the URL says it all."""
        return {}

    @property
    def address(self) -> tuple[str, int]:
        """Where it takes AMQP."""
        return "127.0.0.1", self._port

    def stop(self) -> None:
        """SIGKILL for the node and its helpers, some of which are in sessions of their own.

        Not before it has noted each quorum queue on disk. RabbitMQ 3.10 does so a second after it has confirmed a declaration,
        and when it is killed meanwhile, the queue comes back without its messages and without a leader.
        """
        if self._node is None:
            return
        deadline = time.monotonic() + _STOP_SECONDS
        while self._node.poll() is None and not self._queues_are_noted() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._kill_node()

    def _kill_node(self) -> None:
        if self._node is None:
            return
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._node.pid)
            processes = [root, *root.children(recursive=True)]
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            deadline = time.monotonic() + _STOP_SECONDS
            while not all(_ended(process) for process in processes) and time.monotonic() < deadline:
                time.sleep(0.02)
        self._node.wait(_STOP_SECONDS)
        self._node = None

    def start(self) -> None:
        """Start it and wait until it greets. Raises `RuntimeError` with the end of what it said when it does not."""
        if self._epmd is None:
            # A node that finds no epmd starts one as a daemon, which outlives it and is nobody's child.
            self._epmd = subprocess.Popen(  # noqa: S603 - a fixed program
                [self._epmd_command, "-address", "127.0.0.1", "-port", str(self._epmd_port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._wait_for(self._epmd, self._epmd_listens)
        with self._output.open("ab") as sink:
            self._node = subprocess.Popen(  # noqa: S603 - a fixed program
                [str(_SCRIPT)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=self._node_environment(),
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C in a terminal is for the tests, which stop it
            )
        self._wait_for(self._node, self._greets)

    def close(self) -> None:
        """End the node, then its epmd."""
        self._kill_node()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(_STOP_SECONDS)
            self._epmd = None

    def control(self, *arguments: str) -> None:
        """Run ``rabbitmqctl`` with these arguments. Raises `subprocess.CalledProcessError`."""
        command = [str(_SCRIPT.with_name("rabbitmqctl")), *arguments]
        subprocess.run(command, env=self._node_environment(), check=True, capture_output=True, timeout=_START_SECONDS)  # noqa: S603 - a fixed program

    def _node_environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return others | {
            "HOME": str(self._folder),  # Erlang's cookie lies there
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": self._node_name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "none"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
        }

    def _wait_for(self, process: subprocess.Popen[bytes], answers: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                self.close()
                said = self._output.read_text(errors="replace") if self._output.exists() else ""
                raise RuntimeError(f"RabbitMQ does not start:\n{said[-3000:]}")
            time.sleep(0.05)

    def _queues_are_noted(self) -> bool:
        folder = self._folder / "mnesia" / self._node_name / "quorum" / self._node_name
        if not folder.exists():
            return True
        noted = (folder / "names.dets").read_bytes()
        return all(queue.name.encode() in noted for queue in folder.iterdir() if queue.is_dir())

    def _epmd_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._epmd_port)) == 0

    def _greets(self) -> bool:
        try:
            with socket.create_connection(self.address, timeout=5) as probe:
                probe.sendall(_GREETING)
                return probe.recv(1) == _METHOD_FRAME
        except OSError:
            return False  # it does not listen yet


def _ended(process: psutil.Process) -> bool:
    """Whether it runs no more; whose child it was may not have noticed yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
