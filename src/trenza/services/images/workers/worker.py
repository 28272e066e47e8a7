"""One worker process as the service sees it: started with nothing of the service's secrets, asked, killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import orjson

from trenza.services.images.workers.answers import Answer, Ready, Refused, Rendered, Unsuited, read_answer
from trenza.services.images.workers.frames import HEAD_BYTES, MAX_FRAME_BYTES, frame_length, to_frame

__all__ = ["Confinement", "Worker", "WorkerDied", "WorkerUnavailable"]

_START_SECONDS = 60.0
"""A start takes a quarter of a second; this is for machines under heavy load."""
_LAST_WORDS = 2048
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")


class WorkerUnavailable(Exception):
    """No worker can take the job. The image is not at fault: the same job may be done later."""


class WorkerDied(Exception):
    """The worker ended before it answered. ``by_signal`` is the signal that ended it, None when it ended by itself."""

    def __init__(self, status: int | None) -> None:
        self.by_signal = -status if status is not None and status < 0 else None
        super().__init__(signal.Signals(self.by_signal).name if self.by_signal else f"exit status {status}")

    @property
    def out_of_processor_time(self) -> bool:
        """Whether the kernel ended it for its use of processor time."""
        return self.by_signal == signal.SIGXCPU


@dataclass(frozen=True, slots=True)
class Confinement:
    """The limits of a worker. ``scratch`` is the folder for large temporary files; see `confinement.confine` for the rest."""

    memory_bytes: int
    scratch_bytes: int
    scratch: Path
    niceness: int = 0


class Worker:
    """A started worker. Ask it one thing at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said = b""
        self._listening = asyncio.create_task(self._listen())
        self._is_ready = self._killed = False
        self.busy = False
        """Whether it has a job and has not answered yet."""
        self.jobs = 0
        """How many jobs it has had."""
        self.slow = ""
        """Why it renders everything with libvips; known once it is ready, and empty when it need not."""

    @classmethod
    async def start(cls, confinement: Confinement) -> Worker:
        """Start a process; raises `WorkerUnavailable`. It takes jobs once `ready` has returned."""
        arguments = orjson.dumps(
            {
                "memory_bytes": confinement.memory_bytes,
                "scratch_bytes": confinement.scratch_bytes,
                "niceness": confinement.niceness,
                "parent": os.getpid(),
            }
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "trenza.services.images.workers.process", arguments.decode()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(confinement.scratch),
                start_new_session=True,
                limit=MAX_FRAME_BYTES,
            )
        except OSError as error:
            raise WorkerUnavailable(f"no image worker could be started: {error}") from error
        return cls(process)

    async def ready(self) -> None:
        """Wait until it has started; raises `WorkerUnavailable` with what it said when it cannot."""
        if self._is_ready:
            return
        try:
            async with asyncio.timeout(_START_SECONDS):
                answer = await self._hear()
        except (WorkerDied, TimeoutError) as error:
            self.kill()
            await self.collect()
            raise WorkerUnavailable(f"an image worker did not start ({error!r}); it said: {self.last_words}") from error
        if not isinstance(answer, Ready):
            raise WorkerUnavailable("an image worker began with something else than that it is ready")
        self._is_ready = True
        self.slow = answer.slow

    @property
    def alive(self) -> bool:
        """Whether the process runs and was not told to end."""
        return self._process.returncode is None and not self._killed

    @property
    def process_id(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The end of what it wrote to its standard error."""
        return self._said.decode("utf-8", "replace").strip()

    async def ask(self, job: bytes, *, timeout: float) -> Rendered | Unsuited | Refused:
        """Its answer. Raises `WorkerDied`, TimeoutError or `WorkerUnavailable`.

        After any of these, or `Unsuited`, it is of no use.
        """
        self.jobs += 1
        self.busy = True
        async with asyncio.timeout(timeout):
            try:
                assert self._process.stdin is not None  # noqa: S101 - it was started with a pipe
                self._process.stdin.write(to_frame(job))
                await self._process.stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                raise WorkerDied(await self._process.wait()) from None
            answer = await self._hear()
        self.busy = False
        if isinstance(answer, Rendered | Unsuited | Refused):
            return answer
        raise WorkerUnavailable(f"an image worker could not work: {answer}")

    async def _hear(self) -> Answer:
        """The next answer that it sends."""
        assert self._process.stdout is not None  # noqa: S101 - it was started with a pipe
        try:
            head = await self._process.stdout.readexactly(HEAD_BYTES)
            return read_answer(await self._process.stdout.readexactly(frame_length(head)))
        except ValueError as error:
            raise WorkerUnavailable("an image worker gave an answer that is none") from error
        except (asyncio.IncompleteReadError, ConnectionResetError):
            raise WorkerDied(await self._process.wait()) from None

    def kill(self) -> None:
        """End the process at once, even a stopped one."""
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def collect(self) -> None:
        """Wait until a killed process is gone and its pipes are closed."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        await self._listening

    async def _listen(self) -> None:
        """Keep the end of what it says, so that a chatty decoder can neither block nor fill anything."""
        assert self._process.stderr is not None  # noqa: S101 - it was started with a pipe
        while said := await self._process.stderr.read(_LAST_WORDS):
            self._said = (self._said + said)[-_LAST_WORDS:]


def _environment(scratch: Path) -> dict[str, str]:
    """What a worker may know: where programs and modules are, and how libvips shall behave. No secrets."""
    kept = {name: value for name in _KEPT_VARIABLES if (value := os.environ.get(name)) is not None}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TMPDIR": str(scratch),
        # One worker is one core: workers scale, threads within one do not (see docs).
        "VIPS_CONCURRENCY": "1",
        "VIPS_WARNING": "0",
        # Each arena reserves 64 MiB of address space, which counts against the limit.
        "MALLOC_ARENA_MAX": "2",
    }
