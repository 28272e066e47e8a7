"""``trenza up`` and ``trenza serve``: one process that serves, and the banner that says where."""

from __future__ import annotations

import gc
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from trenza.chassis.auth.roles import PLATFORM_ROLES, RoleBook
from trenza.chassis.peers import UnusableTls, server_tls
from trenza.chassis.runtime.application import create_app
from trenza.chassis.runtime.deployment import Deployment, Process
from trenza.chassis.runtime.lock import lock_data_folder, refuse_half_restored, share_data_folder
from trenza.chassis.runtime.server import bind, serve
from trenza.chassis.runtime.supervision import READY, end_with_supervisor
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging
from trenza.cli import STARTED
from trenza.cli.errors import UsageFailure
from trenza.cli.options import read_settings

if TYPE_CHECKING:
    import socket

__all__ = ["address_of", "braided", "print_lines", "serve_process", "token_command"]

_USUAL_SCOPE = "photos:editor"
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised here, not listened on


def braided(deployment: Deployment, *, host: str, port: int, data_dir: Path | None) -> int:
    """Serve a deployment's only process until asked to stop; returns the exit code."""
    settings = read_settings(data_dir)
    name = deployment.only_process()
    with bind(host, port) as bound, lock_data_folder(settings.data_dir):
        return _serve(deployment, name, bound, host, data_dir, alone=deployment.services)


def serve_process(
    deployment: Deployment,
    name: str,
    *,
    host: str | None,
    port: int | None,
    replica: int,
    data_dir: Path | None,
    supervised: bool,
) -> int:
    """Serve one process of a deployment until asked to stop; returns the exit code.

    It listens where its address says, or on ``host`` and ``port`` where a container has its own idea of them.
    """
    process = deployment.process(name)
    if replica >= process.replicas:
        last = process.replicas - 1
        raise UsageFailure(f"--replica is {replica}; those of process {name!r} are 0 to {last}")
    settings = read_settings(data_dir)
    own_host, own_port = process.address(replica)
    host, port = host or own_host, own_port if port is None else port
    with bind(host, port, shared=process.gateway and process.replicas > 1) as bound:
        if deployment.alone:
            with lock_data_folder(settings.data_dir):
                return _serve(deployment, name, bound, host, data_dir, alone=deployment.services)
        with share_data_folder(settings.data_dir, process.services) as sharing:
            return _serve(
                deployment,
                name,
                bound,
                host,
                data_dir,
                alone=sharing.alone,
                on_started=sharing.started,
                supervised=supervised,
            )


def _serve(
    deployment: Deployment,
    name: str,
    bound: socket.socket,
    host: str,
    data_dir: Path | None,
    *,
    alone: tuple[str, ...] | frozenset[str],
    on_started: Callable[[], None] = lambda: None,
    supervised: bool = False,
) -> int:
    settings = read_settings(data_dir)
    refuse_half_restored(settings.data_dir)
    address = address_of(host, bound.getsockname()[1])
    if "public_url" not in settings.model_fields_set:
        settings = read_settings(data_dir, public_url=deployment.public_url or address)
    configure_logging(settings)
    app = create_app(deployment, settings, process=name, alone=alone)
    gc.freeze()  # what the start has made stays until the end: later collections need not look at it
    gc.enable()

    def announce() -> None:
        on_started()
        if supervised:
            sys.stdout.write(f"{READY} {address}\n")
            sys.stdout.flush()
            return
        token = token_command(settings, deployment, app.state.roles)
        _print_banner(settings, address, time.monotonic() - STARTED, token, app.state.assembly.broker.trouble)

    if supervised:
        end_with_supervisor()
    tls = _tls(deployment.process(name), settings)
    return serve(app, bound, unready_seconds=settings.unready_seconds, on_started=announce, tls=tls)


def _tls(process: Process, settings: PlatformSettings) -> dict[str, Any]:
    """What a process with an https address needs. Gateways leave TLS with clients to what stands before them.

    Raises `UnusableTls`.
    """
    if process.gateway or not (process.url or "").startswith("https://"):
        return {}
    if found := server_tls(settings):
        return found
    raise UnusableTls(f"{process.url} asks for TLS: set TRENZA_TLS_CERT_FILE, TRENZA_TLS_KEY_FILE and TRENZA_TLS_CA_FILE")


def address_of(host: str, port: int) -> str:
    """Where a client on this machine reaches the server."""
    reachable = _ANY_ADDRESS.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _print_banner(settings: PlatformSettings, address: str, seconds: float, token: str, trouble: str | None) -> None:
    """Say where everything is.

    ``trouble`` is what the broker's absence looks like.
    """
    away = f"away: {trouble}. Until it answers, what is announced waits in the outboxes"
    lines = (
        ("API", address),
        ("Docs", f"{address}/docs"),
        ("Health", f"{address}/health"),
        *((("Metrics", f"{address}/metrics"),) if settings.prometheus_enabled else ()),
        ("Data", str(settings.data_dir.absolute())),
        *((("Broker", away),) if trouble is not None else ()),
        ("Token", token),
        ("Stop", f"Ctrl-C (drains for up to {settings.drain_seconds:g} s; twice to force)"),
    )
    print_lines(f"after {seconds:.1f} s, as process {os.getpid()} ({settings.environment})", lines)


def print_lines(how: str, lines: tuple[tuple[str, str], ...]) -> None:
    """The banner, on standard error: standard output stays free for logs that somebody collects."""
    typer.echo(f"\n{typer.style('Trenza is up', bold=True)} {how}.\n", err=True)
    width = max(8, *(len(what) + 1 for what, _ in lines))
    for what, where in lines:
        typer.echo(f"  {typer.style(f'{what:<{width}}', fg='cyan', bold=True)}{where}", err=True)
    typer.echo(err=True)


def token_command(settings: PlatformSettings, deployment: Deployment, roles: RoleBook) -> str:
    """The command that makes a token for this very server, as it can be typed in the same folder."""
    scope = (
        _USUAL_SCOPE if roles.knows(_USUAL_SCOPE) else min(roles.scopes - set(PLATFORM_ROLES.scopes), default="platform:viewer")
    )
    words = [*_program(), "token"]
    if settings.data_dir != PlatformSettings.model_fields["data_dir"].default:
        words += ["--data-dir", str(settings.data_dir)]
    if deployment.source != "monolith":
        words += ["--deployment", deployment.source]
    return shlex.join([*words, scope])


def _program() -> list[str]:
    """How this program was called; by its bare name where the shell finds it."""
    called = Path(sys.argv[0])
    if called.name != "trenza":
        return [sys.executable, "-m", "trenza"]
    found = shutil.which("trenza")
    return ["trenza"] if found and Path(found).samefile(called) else [str(called)]
