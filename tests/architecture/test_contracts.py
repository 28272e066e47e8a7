"""Every contract of this distribution: it can be described, it is its package's own, and prefixes belong to one service."""

from __future__ import annotations

import json
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

import trenza
from trenza.chassis.contract import Contract

NAMES = sorted(
    path.name
    for path in (Path(trenza.__file__).parent / "services").iterdir()
    if (path / "contract.py").exists() or (path / "contract").is_dir()
)


def contracts_of(name: str) -> list[type[Contract]]:
    members = vars(import_module(f"trenza.services.{name}.contract")).values()
    return [m for m in members if isinstance(m, type) and issubclass(m, Contract) and m.service and Contract in m.__bases__]


def test_there_are_contracts() -> None:
    assert {"images", "photos"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_contract_is_named_like_its_package_and_can_be_written_down(name: str) -> None:
    own = [contract for contract in contracts_of(name) if contract.__module__.startswith(f"trenza.services.{name}.")]
    assert [contract.service for contract in own] == [name]
    assert json.loads(json.dumps(own[0].schema()))["service"] == name


def test_a_path_belongs_to_one_service() -> None:
    paths = Counter(path for contract in {c for name in NAMES for c in contracts_of(name)} for path in contract.paths)
    assert [path for path, times in paths.items() if times > 1] == []
