"""The import rules in pyproject.toml: they hold, and each of them fails on a copy of the source in which it is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

import trenza

PROJECT = Path(__file__).parents[2]
SOURCE = Path(trenza.__file__).parent
LINTER = Path(sys.executable).with_name("lint-imports")
RULES = {
    rule["id"]: rule["name"]
    for rule in tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
HARBOUR = {
    f"services/harbour/{name}.py": ""
    for name in (
        "__init__",
        "contract",
        "messages",
        "rules",
        "settings",
        "tables",
        "store",
        "service",
        "routes",
        "tasks",
        "wiring",
    )
}
"""A service to come, of which the rules do not know."""


@dataclass
class House:
    """A copy of the source that a test may spoil."""

    root: Path

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / "src" / "trenza" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((path.read_text() if path.exists() else '"""A module."""\n') + text)

    def broken_rules(self) -> set[str]:
        """The ids of the rules that `lint-imports` finds broken."""
        done = subprocess.run(  # noqa: S603 - the program of our own environment, and fixed arguments
            [str(LINTER), "--no-logo", "--no-cache", "--config", str(self.root / "pyproject.toml")],
            cwd=self.root / "src",
            env={**os.environ, "PYTHONPATH": str(self.root / "src"), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        verdicts = {
            rule: line.removeprefix(name)
            for line in done.stdout.splitlines()
            for rule, name in RULES.items()
            if line.startswith((f"{name} KEPT", f"{name} BROKEN"))
        }
        assert verdicts.keys() == RULES.keys(), done.stdout + done.stderr
        broken = {rule for rule, line in verdicts.items() if "BROKEN" in line}
        assert done.returncode == (1 if broken else 0), done.stdout + done.stderr
        return broken


@pytest.fixture
def house(tmp_path: Path) -> House:
    shutil.copytree(SOURCE, tmp_path / "src" / "trenza", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    built = House(tmp_path)
    built.write(HARBOUR)
    return built


def test_the_rules_hold_with_one_more_service(house: House) -> None:
    house.write(
        {
            "services/harbour/wiring.py": "from trenza.services.harbour import routes, service, tasks\n",
            "services/harbour/routes.py": "from fastapi import APIRouter\nfrom trenza.services.harbour import service\n",
            "services/harbour/service.py": "from trenza.services.harbour import store\n"
            "from trenza.services.photos.contract import Photos\n",
            "services/harbour/store.py": "from trenza.services.harbour import tables, rules, contract\n",
            "services/harbour/contract.py": "from trenza.chassis.contract import Contract\n"
            "from trenza.services.images import contract\n",
        }
    )
    assert house.broken_rules() == set()


@pytest.mark.parametrize(
    ("rule", "file", "line"),
    [
        ("chassis-knows-no-service", "chassis/clock.py", "from trenza.services.photos import contract"),
        ("chassis-knows-no-service", "chassis/settings.py", "import trenza.cli"),
        ("chassis-layers", "chassis/context.py", "from trenza.chassis.data import Database"),
        ("chassis-layers", "chassis/messages/definitions.py", "from trenza.chassis.calls import bind_local"),
        ("chassis-layers", "chassis/calls/local.py", "from trenza.chassis.testing import bind"),
        ("chassis-layers", "chassis/contract/values.py", "from trenza.chassis.context import Context"),
        ("chassis-is-light", "chassis/http/problem.py", "import numpy"),
        ("contracts-only", "services/harbour/service.py", "from trenza.services.photos.rules import *"),
        ("contracts-only", "services/harbour/rules.py", "from trenza.services.photos import store"),
        ("contracts-only", "services/gateway/routes.py", "from trenza.services.photos.tables import *"),
        ("contracts-only", "services/console/pages.py", "from trenza.services.images import settings"),
        ("contracts-only", "cli/photos.py", "from trenza.services.photos.service import *"),
        ("services-acyclic", "services/images/contract.py", "from trenza.services.photos import contract"),
        ("contracts-are-light", "services/harbour/contract.py", "import fastapi"),
        ("contracts-are-light", "services/harbour/contract.py", "from sqlalchemy import Table"),
        ("contracts-are-light", "services/harbour/contract.py", "from trenza.chassis.data import Database"),
        ("rooms", "services/harbour/service.py", "from trenza.services.harbour import routes"),
        ("rooms", "services/harbour/store.py", "from trenza.services.harbour.service import *"),
        ("rooms", "services/harbour/rules.py", "from trenza.services.harbour import tables"),
        ("rooms", "services/harbour/routes.py", "from trenza.services.harbour import tasks"),
        ("rooms", "services/harbour/contract.py", "from trenza.services.harbour import messages"),
        ("rooms", "services/harbour/messages.py", "from trenza.services.harbour import rules"),
        ("wirings-are-loaded-by-name", "chassis/runtime/assembly.py", "import trenza.services.harbour.wiring"),
        ("wirings-are-loaded-by-name", "cli/serving.py", "from trenza.services.photos.wiring import service"),
        ("testing-stays-in-tests", "services/harbour/service.py", "from trenza.chassis.testing import ManualClock"),
    ],
)
def test_a_broken_rule_is_seen(house: House, rule: str, file: str, line: str) -> None:
    house.write({"services/gateway/__init__.py": "", "services/console/__init__.py": "", file: f"{line}\n"})
    assert rule in house.broken_rules()


def test_every_rule_is_broken_by_a_test() -> None:
    [parameters] = [mark.args[1] for mark in test_a_broken_rule_is_seen.pytestmark]  # type: ignore[attr-defined]  # set by the decorator
    assert {rule for rule, _file, _line in parameters} == RULES.keys()
