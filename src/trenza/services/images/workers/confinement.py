"""What a worker process gives up before it touches a file: memory, time, priority, privileges, and life after its parent."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
import sys
from pathlib import Path

__all__ = ["confine", "limit_processor_time"]

_OPEN_FILES = 64
_MAPPED_BEYOND_DATA = 1024 * 1024 * 1024
"""Address space for what is mapped but not allocated: libraries, thread stacks, and the source file itself."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h


def confine(*, memory_bytes: int, scratch_bytes: int, niceness: int, parent: int) -> None:
    """Limit this process for good. ``parent`` is the process id of the service, which this process must not outlive.

    Terminal and service-manager signals are ignored: the service ends its workers when its own work has drained.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above took effect
        os._exit(1)
    os.umask(0o077)
    _step_back(niceness)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _lower(resource.RLIMIT_FSIZE, scratch_bytes)
    # RLIMIT_DATA counts what is allocated (heap and private writable maps, on Linux); RLIMIT_AS bounds everything mapped.
    _lower(resource.RLIMIT_DATA, memory_bytes)
    _lower(resource.RLIMIT_AS, memory_bytes + _MAPPED_BEYOND_DATA)


def limit_processor_time(seconds: int) -> None:
    """Let this process use so many seconds of processor time from now on; the kernel ends it with SIGXCPU when they are over."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + seconds, hard))


def _step_back(niceness: int) -> None:
    """Let other processes go first by so many steps."""
    os.nice(niceness)
    # A worker leads a session of its own. Where Linux weighs sessions (sched(7), autogroup), the nice value counts in one only.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))


def _lower(limit: int, value: int) -> None:
    """Set a limit, soft and hard, or keep a tighter one that is in force."""
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS knows RLIMIT_AS but refuses to set it
        resource.setrlimit(limit, (value, value))
