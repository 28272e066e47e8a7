"""The doctor's look at the machine: Python, libraries, memory, cores, disk, the port and the clock."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from importlib import import_module
from pathlib import Path

from trenza.cli.findings import Finding, fail, good, warn

__all__ = ["checks", "folder_checks", "port_check"]

LEAST_PYTHON = (3, 11)
COMFORTABLE_MEMORY = 1024**3
"""The API needs about 150 MB; two image workers at 24 MP up to 120 MB each; the rest is the file system's cache."""
LEAST_DISK = 256 * 1024**2
COMFORTABLE_DISK = 2 * 1024**3
RELEASED = datetime(2026, 1, 1, tzinfo=UTC)
"""No correct clock can show a time before this release; tokens and signed links would be refused as not yet valid."""
ANSWER_SECONDS = 2.0
LONGEST_ANSWER = 64 * 1024

_FORMATS = {"JPEG": "jpegload", "PNG": "pngload", "WebP": "webpload", "TIFF": "tiffload", "AVIF": "heifload"}
_EXTRAS = {"postgres": ("asyncpg",), "redis": ("redis",), "images": ("pyvips", "PIL", "pi_heif")}


def checks() -> Iterator[Finding]:
    """What does not depend on the settings."""
    yield _python()
    yield from _extras()
    yield from _vips()
    yield _memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield good("cores", str(cores)) if cores > 1 else warn("cores", "1", "give it two or more; images are worked on in parallel")
    yield _clock()


def _python() -> Finding:
    found = platform.python_version()
    if sys.version_info < LEAST_PYTHON:
        return fail("python", found, "install Python 3.11 or newer")
    return good("python", f"{found} on {platform.system()} {platform.machine()}")


def _extras() -> Iterator[Finding]:
    for extra, modules in _EXTRAS.items():
        missing = []
        for module in modules:
            try:
                import_module(module)
            except (ImportError, OSError) as error:  # OSError: the package is there, its shared library is not
                missing.append(f"{module} ({error})")
        if missing:
            yield warn(f"extra {extra}", f"cannot import {'; '.join(missing)}", f"pip install 'trenza[{extra}]' if you need it")
        else:
            yield good(f"extra {extra}", ", ".join(modules))


def _vips() -> Iterator[Finding]:
    try:
        pyvips = import_module("pyvips")
    except (ImportError, OSError):
        return  # said above
    version = ".".join(str(pyvips.version(part)) for part in range(3))
    lacking = [name for name, loader in _FORMATS.items() if not pyvips.type_find("VipsOperation", loader)]
    if lacking:
        yield warn("libvips", f"{version} cannot read {', '.join(lacking)}", "pip install 'trenza[images]' brings a full libvips")
    else:
        yield good("libvips", f"{version}: reads {', '.join(_FORMATS)}")
    savers = {"JPEG": "jpegsave", "WebP": "webpsave", "AVIF": "heifsave"}
    if lacking := [name for name, saver in savers.items() if not pyvips.type_find("VipsOperation", saver)]:
        yield fail("libvips", f"cannot write {', '.join(lacking)}", "pip install 'trenza[images]' brings a full libvips")
    try:
        import_module("pi_heif")  # libvips' own loader has no HEVC decoder, which HEIC needs
    except (ImportError, OSError):
        yield warn("HEIC", "photos of iPhones cannot be decoded", "pip install 'trenza[images]'")
    else:
        yield good("HEIC", "can be decoded")
    try:
        import_module("cykooz_resizer")
    except (ImportError, OSError):
        yield warn(
            "fast JPEG", "libvips renders them, in half again the time", "pip install cykooz-resizer, where there is a wheel"
        )
    else:
        yield good("fast JPEG", "workers try it out when they start")


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return warn("memory", "unknown on this system", "make sure that 1 GB is free")
    limit = _container_limit()
    if limit is not None:
        total = min(total, limit)
    said = f"{total / 1024**3:.1f} GB"
    if total < COMFORTABLE_MEMORY:
        return warn("memory", said, "give it 1 GB or more: large images are decoded in memory")
    return good("memory", said)


def _container_limit() -> int | None:
    """The memory limit of the control group (version 2), when there is one."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _clock() -> Finding:
    now = datetime.now(UTC)
    if now < RELEASED:
        return fail("clock", f"shows {now:%Y-%m-%d %H:%M} UTC", "set it (timedatectl set-ntp true): tokens depend on it")
    return good("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def folder_checks(folder: Path) -> Iterator[Finding]:
    """Whether the data folder can be made, written, and has room."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".trenza-doctor-"):
            pass
    except OSError as error:
        yield fail(
            "data folder", f"{folder} cannot be written ({error.strerror})", "name another with --data-dir or TRENZA_DATA_DIR"
        )
    else:
        yield good("data folder", f"{folder.absolute()}{'' if folder.exists() else ' (made on first use)'}")
    free = shutil.disk_usage(existing).free
    said = f"{free / 1024**3:.1f} GB free"
    if free < LEAST_DISK:
        yield fail("disk", said, "free some space, or name another data folder: uploads would be refused")
    elif free < COMFORTABLE_DISK:
        yield warn("disk", said, "free some space: each photo keeps its original and four versions")
    else:
        yield good("disk", said)


def port_check(port: int, host: str = "127.0.0.1") -> Finding:
    """Whether the port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and _trenza_answers(port, host):
                return good("port", f"{port}: Trenza runs there already")
            if error.errno == errno.EADDRINUSE:
                return warn("port", f"{port} is in use", "is Trenza running already? Otherwise choose another with --port")
            return fail("port", f"{port} cannot be opened ({error.strerror})", "choose another with --port")
    return good("port", f"{port} is free")


def _trenza_answers(port: int, host: str) -> bool:
    """Whether what listens tells its health as Trenza does."""
    asked = HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    try:
        asked.request("GET", "/health")
        told = json.loads(asked.getresponse().read(LONGEST_ANSWER))
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        asked.close()
    return isinstance(told, dict) and {"status", "checks"} <= told.keys()
