"""Keeps the processes of a deployment running on one machine: starts, restarts, renews and stops them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread

__all__ = ["READY", "Member", "Supervisor", "end_with_supervisor"]

READY = "ready"
"""What a supervised process writes to its standard output once it answers, followed by its address."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
"""Pauses before a restart double from the first to the longest."""
STEADY_SECONDS = 30.0
"""Who has run for so long is restarted after the first pause again."""
LAST_LINES_SECONDS = 1.0
RENEWAL_SECONDS = 120.0
"""How long a renewal waits for one member, drain and start, before it leaves the others alone."""
_CHUNK = 64 * 1024

_EXIT_FAILED = 1


@dataclass
class Member:
    """One process to keep: ``label`` is its name in the log, ``tier`` the order in which it stops (0 first)."""

    label: str
    command: Sequence[str]
    tier: int = 0
    running: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """It answers, and has not ended since."""
    was_ready: bool = False
    renewing: bool = False
    """Its end is wanted, and is followed by another start at once."""

    def signal(self, number: int) -> None:
        """Send a signal, where there is somebody to get it."""
        if self.running is not None and self.running.returncode is None:
            with suppress(ProcessLookupError):
                self.running.send_signal(number)


class Supervisor:
    """Runs the members until SIGTERM or SIGINT: then they drain, tier after tier. SIGHUP renews one after the other.

    Who ends is started again after a pause. Who ends by itself before it was ever ready will not do better another time: then all
    stop, and the exit code is 1. A second signal hurries the members, a third kills them.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        line: Callable[[str, str], None],
        say: Callable[[str, str], None],
        up: Callable[[], None],
    ) -> None:
        """``line`` gets each line that a member logs, ``say`` what there is to tell of it, both after its label.

        ``up`` is called when all are ready for the first time.
        """
        self._members = members
        self._line, self._say, self._up = line, say, up
        self._stopping = asyncio.Event()
        self._signals = 0
        self._failed = False
        self._renewal: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Keep them until asked to stop; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._renew)
        keepers = [asyncio.create_task(self._keep(member), name=member.label) for member in self._members]
        greeting = asyncio.create_task(self._greet())
        await self._stopping.wait()
        greeting.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
        for tier in sorted({member.tier for member in self._members}):
            for member in self._members:
                if member.tier == tier:
                    member.signal(signal.SIGTERM)
            await asyncio.wait([keeper for keeper, member in zip(keepers, self._members, strict=True) if member.tier == tier])
        for keeper in keepers:
            keeper.result()  # a defect in one must not keep the others from ending, nor be passed over
        return _EXIT_FAILED if self._failed else 0

    async def _greet(self) -> None:
        await asyncio.gather(*(member.ready.wait() for member in self._members))
        self._up()

    def _stop(self) -> None:
        self._signals += 1
        self._stopping.set()
        if self._signals > 1:
            for member in self._members:
                member.signal(signal.SIGTERM if self._signals == 2 else signal.SIGKILL)  # noqa: PLR2004 - the second and the third

    def _renew(self) -> None:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew_all())

    async def _renew_all(self) -> None:
        """Restart one member after the other, those first whom others call."""
        for member in sorted(self._members, key=lambda member: -member.tier):
            if not member.ready.is_set():
                self._say(member.label, "is not running; it is new when it is back")
                continue
            self._say(member.label, "renewing")
            member.renewing = True
            member.ready.clear()
            member.signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(RENEWAL_SECONDS):
                    await member.ready.wait()
            except TimeoutError:
                self._say(member.label, f"did not come back within {RENEWAL_SECONDS:g} s; the others stay as they are")
                return
        self._say("", "all renewed")

    async def _keep(self, member: Member) -> None:
        """Run a member again and again."""
        pause = FIRST_PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            started = loop.time()
            try:
                code = await self._run(member)
            except OSError as error:
                self._say(member.label, f"could not be started ({error.strerror}: {member.command[0]}); stopping the others")
                self._fail()
                return
            renewing, member.renewing = member.renewing, False
            if self._stopping.is_set() or renewing:
                continue
            if not member.was_ready and code >= 0:
                self._say(member.label, f"could not start (exit code {code}); stopping the others")
                self._fail()
                return
            if loop.time() - started > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            self._say(member.label, f"{how}; starting it again in {pause:g} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _fail(self) -> None:
        self._failed = True
        self._stopping.set()

    async def _run(self, member: Member) -> int:
        """Run a member once; returns its exit code. Its standard input is open as long as this process lives."""
        process = await asyncio.create_subprocess_exec(
            *member.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the terminal is for the supervisor, which stops them in order
        )
        member.running = process
        if self._stopping.is_set():
            member.signal(signal.SIGTERM)
        following = [
            asyncio.create_task(self._follow_output(member, process)),
            asyncio.create_task(self._follow_log(member, process)),
        ]
        code = await process.wait()
        member.ready.clear()
        # What is left to read comes at once; processes that it has started itself may hold its output open.
        _, late = await asyncio.wait(following, timeout=LAST_LINES_SECONDS)
        for task in late:
            task.cancel()
        return code

    async def _follow_output(self, member: Member, process: asyncio.subprocess.Process) -> None:
        if process.stdout is not None:
            async for line in _lines(process.stdout):
                if line.startswith(f"{READY} "):
                    if member.was_ready:
                        self._say(member.label, "answers again")
                    member.was_ready = True
                    member.ready.set()
                else:
                    self._line(member.label, line)

    async def _follow_log(self, member: Member, process: asyncio.subprocess.Process) -> None:
        if process.stderr is not None:
            async for line in _lines(process.stderr):
                self._line(member.label, line)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """The lines of a stream, however long they are."""
    rest = b""
    while chunk := await stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def end_with_supervisor() -> None:
    """End this process as SIGTERM would when its standard input ends: the supervisor, which holds the other end, is gone."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), _CHUNK):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, name="supervisor watch", daemon=True).start()
