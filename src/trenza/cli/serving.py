"""``trenza up``: one process that serves, and the banner that says where."""

from __future__ import annotations

import gc
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import typer

from trenza.chassis.auth.roles import PLATFORM_ROLES, RoleBook
from trenza.chassis.runtime.application import create_app
from trenza.chassis.runtime.deployment import read_deployment
from trenza.chassis.runtime.lock import lock_data_folder, refuse_half_restored
from trenza.chassis.runtime.server import bind, serve
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging
from trenza.cli import STARTED
from trenza.cli.options import read_settings

__all__ = ["run"]

_USUAL_SCOPE = "photos:editor"
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised here, not listened on


def run(*, host: str, port: int, data_dir: Path | None, deployment: str) -> int:
    """Serve until asked to stop; returns the exit code."""
    settings = read_settings(data_dir)
    plan = read_deployment(deployment)
    with bind(host, port) as bound, lock_data_folder(settings.data_dir):
        refuse_half_restored(settings.data_dir)
        address = _address(host, bound.getsockname()[1])
        if "public_url" not in settings.model_fields_set:
            settings = read_settings(data_dir, public_url=address)
        configure_logging(settings)
        app = create_app(plan, settings, alone=True)
        gc.freeze()  # what the start has made stays until the end: later collections need not look at it
        gc.enable()

        def announce() -> None:
            token = _token_command(settings, deployment, app.state.roles)
            _print_banner(settings, address, time.monotonic() - STARTED, token, app.state.assembly.broker.trouble)

        return serve(app, bound, unready_seconds=settings.unready_seconds, on_started=announce)


def _address(host: str, port: int) -> str:
    """Where a client on this machine reaches the server."""
    reachable = _ANY_ADDRESS.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _print_banner(settings: PlatformSettings, address: str, seconds: float, token: str, trouble: str | None) -> None:
    """Say where everything is, on standard error: standard output stays free for logs that somebody collects.

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
    headline = typer.style("Trenza is up", bold=True)
    typer.echo(f"\n{headline} after {seconds:.1f} s, as process {os.getpid()} ({settings.environment}).\n", err=True)
    for what, where in lines:
        typer.echo(f"  {typer.style(f'{what:<8}', fg='cyan', bold=True)}{where}", err=True)
    typer.echo(err=True)


def _token_command(settings: PlatformSettings, deployment: str, roles: RoleBook) -> str:
    """The command that makes a token for this very server, as it can be typed in the same folder."""
    scope = (
        _USUAL_SCOPE if roles.knows(_USUAL_SCOPE) else min(roles.scopes - set(PLATFORM_ROLES.scopes), default="platform:viewer")
    )
    words = [*_program(), "token"]
    if settings.data_dir != PlatformSettings.model_fields["data_dir"].default:
        words += ["--data-dir", str(settings.data_dir)]
    if deployment != "monolith":
        words += ["--deployment", deployment]
    return shlex.join([*words, scope])


def _program() -> list[str]:
    """How this program was called; by its bare name where the shell finds it."""
    called = Path(sys.argv[0])
    if called.name != "trenza":
        return [sys.executable, "-m", "trenza"]
    found = shutil.which("trenza")
    return ["trenza"] if found and Path(found).samefile(called) else [str(called)]
