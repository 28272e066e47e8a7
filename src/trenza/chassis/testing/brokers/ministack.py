"""A ministack on loopback: what SQS, SNS and EventBridge of AWS are spoken to as, without AWS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path

from trenza.chassis.testing.brokers.protocol import Broker, NotInstalled
from trenza.chassis.testing.server_process import free_port

__all__ = ["Ministack"]

START_SECONDS = 60.0
"""It starts in half a second; this is for machines under heavy load."""
STOP_SECONDS = 30.0
"""It waits up to three seconds for the long polls that it holds, and then writes what it keeps."""
_REGION = "us-east-1"


class Ministack(Broker):
    """Stands for AWS: it keeps queues, topics, buses and messages over `stop` and `start`."""

    name = "SQS (ministack)"
    lasting = True

    def __init__(self, folder: Path) -> None:
        if find_spec("ministack") is None:
            raise NotInstalled("ministack: `make setup`, or pip install ministack")
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, prefix: str) -> str:
        """A region, and names of this test alone."""
        return f"sqs://{_REGION}?prefix={prefix}"

    def environment(self) -> dict[str, str]:
        """Where it listens, and credentials, which it does not check."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ACCESS_KEY_ID": "test-access-key",
            "AWS_SECRET_ACCESS_KEY": "test-secret-key",
            "AWS_REGION": _REGION,
        }

    @property
    def address(self) -> tuple[str, int]:
        """Loopback and the port of this run."""
        return "127.0.0.1", self._port

    def stop(self) -> None:
        """End it by SIGTERM, upon which it writes what it keeps; SIGKILL when it does not end.

        Killed at once it would forget everything, which AWS does not: its answer is on several disks before it is given. So what
        is shown here is that AWS is out of reach for a while, not that a machine of AWS dies.
        """
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def start(self) -> None:
        """Start it on its port with what it had kept; returns when it answers."""
        own = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self._port),
            "LOG_LEVEL": "WARNING",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self._folder / "state"),
            "TMPDIR": str(self._folder),  # it writes a file with its process id there
        }
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "ministack"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **own})  # noqa: S603 - our own program and options
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(f"ministack does not start:\n{self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def close(self) -> None:
        """Kill it: nobody asks for what it kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def _log(self) -> Path:
        return self._folder / "ministack.log"

    def _answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == 200  # noqa: PLR2004 - HTTP's OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
