"""The import rules that an author copies from the example: they hold, and each of them fails where it is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "inspections"
LINTER = Path(sys.executable).with_name("lint-imports")
RULES = {
    rule["id"]: rule["name"]
    for rule in tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}


def broken_rules(folder: Path) -> set[str]:
    done = subprocess.run(  # noqa: S603 - the program of our own environment, and fixed arguments
        [str(LINTER), "--no-logo", "--no-cache", "--config", str(folder / "pyproject.toml")],
        cwd=folder / "src",
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "COLUMNS": "200"},
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
    return {rule for rule, line in verdicts.items() if "BROKEN" in line}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLE / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(EXAMPLE / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_rules_hold(copy: Path) -> None:
    assert broken_rules(copy) == set()


@pytest.mark.parametrize(
    ("rule", "file", "line"),
    [
        ("rooms", "store.py", "from inspections.service import InspectionsService as Above"),
        ("contracts-only", "service.py", "from trenza.services.photos.store import find"),
        ("contract-is-light", "contract.py", "from trenza.chassis.data import Database"),
        ("contract-is-light", "contract.py", "import fastapi"),
        ("testing-stays-in-tests", "service.py", "from trenza.chassis.testing import ManualClock"),
    ],
)
def test_a_broken_rule_is_seen(copy: Path, rule: str, file: str, line: str) -> None:
    path = copy / "src" / "inspections" / file
    path.write_text(f"{path.read_text()}\n{line}\n")
    assert broken_rules(copy) == {rule}
