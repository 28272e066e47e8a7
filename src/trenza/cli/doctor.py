"""``trenza doctor``: runs every check of the machine and the settings, and prints what it found with the remedies."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rich.table import Table

from trenza.chassis.runtime.deployment import DeploymentError, read_deployment
from trenza.chassis.runtime.loading import load_services
from trenza.chassis.service import Service
from trenza.chassis.settings import InvalidSettings, PlatformSettings
from trenza.cli import machine, platform_checks
from trenza.cli.findings import Finding, fail, good
from trenza.cli.options import read_settings
from trenza.cli.tables import cell, print_grid

__all__ = ["examine"]

_MARKS = {"ok": "[green]ok[/green]", "warn": "[yellow]warn[/yellow]", "fail": "[red]fail[/red]"}


def examine(*, data_dir: Path | None, deployment: str, port: int) -> int:
    """Print every finding; returns 1 when one is a failure."""
    findings = [*machine.checks()]
    services, found = _services(deployment)
    findings += found
    settings, found = _settings(data_dir)
    findings += found
    if settings is not None:
        findings += [*machine.folder_checks(settings.data_dir), machine.port_check(port)]
        findings += asyncio.run(platform_checks.run(services, settings))
    _print(findings)
    return 1 if any(finding.state == "fail" for finding in findings) else 0


def _services(deployment: str) -> tuple[tuple[Service, ...], list[Finding]]:
    try:
        names = read_deployment(deployment).services
        return load_services(names), [good("services", ", ".join(names))]
    except DeploymentError as error:
        return (), [fail("services", problem, "") for problem in error.problems]


def _settings(data_dir: Path | None) -> tuple[PlatformSettings | None, list[Finding]]:
    try:
        settings = read_settings(data_dir)
    except InvalidSettings as error:
        return None, [fail("settings", problem, "") for problem in error.problems]
    return settings, [good("settings", f"read; environment is {settings.environment}")]


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    for finding in findings:
        remedy = f" → {finding.remedy}" if finding.remedy else ""
        table.add_row(_MARKS[finding.state], cell(finding.what), cell(f"{finding.detail}{remedy}"))
    print_grid(table)
