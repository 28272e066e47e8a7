from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from trenza.cli.message_stores import Scope

Trenza = Callable[..., Result]


@pytest.fixture
def letters(trenza: Trenza, tmp_path: Path) -> list[dict[str, str]]:
    """Two messages that nobody can read, in the inbox of photos."""
    data = tmp_path / "data"
    assert trenza("migrate", "--data-dir", data).exit_code == 0

    async def receive() -> None:
        async with Scope(data, "monolith", "photos").open() as stores:
            await stores["photos"].receive([b"no envelope", b"another one"])

    asyncio.run(receive())
    found: list[dict[str, str]] = json.loads(trenza("dead-letters", "list", "--json", "--data-dir", data).stdout)
    return found


def test_they_are_listed_and_shown_with_what_came(trenza: Trenza, tmp_path: Path, letters: list[dict[str, str]]) -> None:
    assert [letter["reason"] for letter in letters] == ["unreadable", "unreadable"]
    listed = trenza("dead-letters", "list", "--data-dir", tmp_path / "data")
    assert listed.stdout.splitlines()[0].split()[:3] == ["ID", "SERVICE", "TYPE"]
    assert letters[0]["id"] in listed.stdout
    shown = trenza("dead-letters", "show", letters[0]["id"], "--json", "--data-dir", tmp_path / "data")
    assert json.loads(shown.stdout)[0]["envelope"] in ("no envelope", "another one")
    unknown = trenza("dead-letters", "show", "01a2005d-c6c6-765d-acc2-27abbe5eb2bd", "--data-dir", tmp_path / "data")
    assert unknown.exit_code == 1
    assert "no dead letter 01a2005d" in unknown.stderr


def test_one_is_discarded_by_its_id(trenza: Trenza, tmp_path: Path, letters: list[dict[str, str]]) -> None:
    result = trenza("dead-letters", "discard", letters[0]["id"], "--data-dir", tmp_path / "data")
    assert (result.exit_code, result.stdout) == (0, "1 discarded\n")
    left = json.loads(trenza("dead-letters", "list", "--json", "--data-dir", tmp_path / "data").stdout)
    assert [letter["id"] for letter in left] == [letters[1]["id"]]


def test_a_slip_in_one_id_changes_nothing(trenza: Trenza, tmp_path: Path, letters: list[dict[str, str]]) -> None:
    unknown = "01a2005d-c6c6-765d-acc2-27abbe5eb2bd"
    result = trenza("dead-letters", "discard", letters[0]["id"], unknown, "--data-dir", tmp_path / "data")
    assert result.exit_code == 1
    assert f"no dead letter {unknown}; nothing was changed" in result.stderr
    assert len(json.loads(trenza("dead-letters", "list", "--json", "--data-dir", tmp_path / "data").stdout)) == 2


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize(("what", "said"), [("redrive", "2 redriven\n"), ("discard", "2 discarded\n")])
def test_all_are_settled_with_yes(trenza: Trenza, tmp_path: Path, what: str, said: str) -> None:
    result = trenza("dead-letters", what, "--all", "--yes", "--data-dir", tmp_path / "data")
    assert (result.exit_code, result.stdout) == (0, said)
    assert trenza("dead-letters", "list", "--data-dir", tmp_path / "data").stdout == "no dead letters\n"
