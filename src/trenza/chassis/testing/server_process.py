"""A real ``trenza up`` in a process of its own, for tests that signal it, kill it, and start it again on the same data."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from trenza.chassis.runtime.deployment import read_deployment

__all__ = ["EndedEarly", "ServerProcess", "free_port", "free_ports", "run_trenza", "split_deployment"]

ALL_ARE_UP = "Trenza is up"
"""What the banner begins with."""

START_SECONDS = 120.0
"""A start takes two seconds; this is for machines under heavy load, where one was seen to take more than 45."""
STOP_SECONDS = 45.0
_PORTS = range(20_000, 30_000)
"""Below the ephemeral ports, so that no client's own port collides with one of these."""


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        if _is_free(port):
            return port


def free_ports(count: int) -> int:
    """The first of so many consecutive ports of this machine that nothing listens on."""
    while True:
        first = free_port()
        if all(_is_free(port) for port in range(first + 1, first + count)):
            return first


def split_deployment(folder: Path, *, replicas: int = 1, gateways: int = 1) -> Path:
    """The file ``split.toml`` in a folder: photos and images in processes of their own behind a gateway, on free ports."""
    first = free_ports(1 + 2 * replicas)
    file = folder / "split.toml"
    file.write_text(
        f'[processes.gateway]\ngateway = true\nurl = "http://127.0.0.1:{first}"\nreplicas = {gateways}\n'
        f'[processes.photos]\nservices = ["photos"]\nurl = "http://127.0.0.1:{first + 1}"\nreplicas = {replicas}\n'
        f'[processes.images]\nservices = ["images"]\nurl = "http://127.0.0.1:{first + 1 + replicas}"\nreplicas = {replicas}\n'
    )
    return file


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def run_trenza(*arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run a ``trenza`` command to its end: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "trenza"),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(environment),
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


class EndedEarly(RuntimeError):
    """The server ended before it was ready, with this exit code (minus the number of the signal that ended it)."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"trenza up ended with {code}:\n{said}")
        self.code = code


class ServerProcess:
    """A server that has said that it is ready. Make it with `running`."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, data_dir: Path, log: Path) -> None:
        self._process = process
        self.url = url
        self.data_dir = data_dir
        self.log = log
        """What it wrote to standard error."""

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        data_dir: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        launcher: tuple[str, ...] = (),
        deployment: Path | None = None,
        process: str | None = None,
    ) -> AsyncIterator[ServerProcess]:
        """Start ``trenza up`` on a free port and wait until it is ready; stop it after the block, unless it has ended already.

        A ``deployment`` of several processes (a file) listens where it says, and is ready once all of its processes are; of one
        whose ``process`` is named, ``trenza serve`` runs that one alone.
        ``launcher`` is a program with its arguments that becomes the server, such as ``nsenter``, which runs it elsewhere.
        Raises `EndedEarly` with what it said when it ends instead.
        """
        port = free_port()
        log = data_dir.with_name(f"{data_dir.name}-{port}.log")
        with log.open("wb") as sink:
            server = await asyncio.create_subprocess_exec(
                *(*launcher, sys.executable),
                *("-m", "trenza"),
                *(("serve", process) if process is not None else ("up",)),
                *("--data-dir", str(data_dir)),
                *(("--port", str(port)) if deployment is None else ("--deployment", str(deployment))),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=_environment(environment),
            )
        started = cls(server, _address(port, deployment, process), data_dir, log)
        try:
            await started._until_ready()
            await started.logs(ALL_ARE_UP)
            yield started
        finally:
            if server.returncode is None:
                await started.stop()

    @property
    def process_id(self) -> int:
        """Its id."""
        return self._process.pid

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop and return its exit code. One that does not end in 45 s is killed, and TimeoutError raised."""
        self._process.send_signal(number)
        try:
            return await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            await self.kill()
            raise

    async def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        return await self._process.wait()

    async def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        self._process.kill()
        await self._process.wait()

    async def token(self, *scopes: str) -> str:
        """A token that its own key signs."""
        code, out, err = await run_trenza("token", "--data-dir", str(self.data_dir), *scopes)
        if code:
            raise RuntimeError(err)
        return out.strip()

    async def logs(self, text: str, *, times: int = 1) -> str:
        """All that it has written, once a text stands there so many times."""
        async with asyncio.timeout(START_SECONDS):
            while (said := await asyncio.to_thread(self.log.read_text, errors="replace")).count(text) < times:
                self._still_running(said)
                await asyncio.sleep(0.05)
        return said

    def members(self) -> dict[str, int]:
        """The ids of the processes that it keeps, by the name that their command line gives them (Linux)."""
        found = {}
        for child in Path(f"/proc/{self.process_id}/task/{self.process_id}/children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
            if "serve" in words:
                replica = f".{words[words.index('--replica') + 1]}" if "--replica" in words else ""
                found[words[words.index("serve") + 1] + replica] = int(child)
        return found

    def _still_running(self, said: str) -> None:
        if self._process.returncode is not None:
            raise EndedEarly(self._process.returncode, said)

    async def _until_ready(self) -> None:
        async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            while True:
                self._still_running(await asyncio.to_thread(self.log.read_text, errors="replace"))
                try:
                    if (await client.get("/health/ready")).is_success:
                        return
                except httpx.TransportError:
                    pass  # it does not listen yet
                await asyncio.sleep(0.05)


def _address(port: int, deployment: Path | None, process: str | None) -> str:
    """Where a server is reached."""
    if deployment is None:
        return f"http://127.0.0.1:{port}"
    found = read_deployment(str(deployment))
    return (found.public_url if process is None else found.process(process).url) or ""


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """This environment without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRENZA_")}
    return {**kept, **(more or {})}
