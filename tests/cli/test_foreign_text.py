"""What comes from elsewhere (types, errors, bodies) reaches no terminal as it is; ids reach it whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from tests.cli.terminal import at_a_terminal
from typer.testing import Result

from trenza.cli.message_stores import Scope

Trenza = Callable[..., Result]

STEERING = "\x1b]0;title\x07\x1b[31mred\x9b2J\u202egnp.exe\u200b\r\n2026-01-01 forged\x7f"
TYPE = f"shop.{STEERING}{'x' * 700}"
IDS = tuple(str(uuid4()) for _ in range(2))


def body(**attributes: object) -> str:
    usual = {"source": "x", "time": "2026-01-01T00:00:00+00:00"}
    return json.dumps(usual | attributes)


@pytest.fixture
def data(trenza: Trenza, tmp_path: Path) -> Path:
    """The data folder of photos, whose inbox got a message of a hostile type, and one that is no envelope."""
    data = tmp_path / "data"
    assert trenza("migrate", "--data-dir", data).exit_code == 0

    async def receive() -> None:
        async with Scope(data, "monolith", "photos").open() as stores:
            await stores["photos"].receive(
                [
                    body(id=IDS[0], type=TYPE, data={}),
                    body(id=IDS[1], type=TYPE, time=STEERING),
                    f"no envelope {STEERING}".encode(),
                ]
            )

    asyncio.run(receive())
    return data


def letters(trenza: Trenza, data: Path) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = json.loads(trenza("dead-letters", "list", "--json", "--data-dir", data).stdout)
    return listed


@pytest.mark.parametrize(
    "command",
    [
        ("messages", "top", "--once"),
        ("messages", "top", "--once", "--json"),
        ("dead-letters", "list"),
        ("dead-letters", "list", "--json"),
        ("dead-letters", "show"),
        ("dead-letters", "show", "--json"),
    ],
    ids=" ".join,
)
def test_it_is_escaped(trenza: Trenza, data: Path, command: tuple[str, ...]) -> None:
    for letter in letters(trenza, data):
        result = trenza(*command, *([letter["id"]] if "show" in command else []), "--data-dir", data)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.replace("\n", "").isprintable()
        assert not any(line.startswith("2026-01-01 forged") for line in result.stdout.splitlines())


def test_json_still_says_what_came(trenza: Trenza, data: Path) -> None:
    queues = json.loads(trenza("messages", "top", "--once", "--json", "--data-dir", data).stdout)["photos"]["queues"]
    assert TYPE in {queue["type"] for queue in queues}
    assert any(STEERING in letter["envelope"] for letter in letters(trenza, data))


def test_a_long_name_leaves_room_for_the_figures(trenza: Trenza, data: Path) -> None:
    lines = trenza("messages", "top", "--once", "--data-dir", data).stdout.splitlines()
    (hostile,) = [line for line in lines if "(nobody) " in line and "unreadable" not in line]
    assert "\\x1b[31mred\\x9b2J\\u202egnp.exe" in hostile
    assert hostile.split()[-7] == "1", "what waits"
    assert max(map(len, lines)) < 130


@pytest.mark.parametrize("columns", [50, 80, 130, 200])
def test_ids_are_whole_at_any_terminal(trenza: Trenza, data: Path, columns: int) -> None:
    known = {letter["id"] for letter in letters(trenza, data)}
    written = at_a_terminal(columns, "dead-letters", "list", "--data-dir", data)
    lines = written.splitlines()
    assert "ID" in lines[0]
    assert {line[:36] for line in lines[1:]} == known
    for found in known:
        assert f"id          {found}" in at_a_terminal(columns, "dead-letters", "show", found, "--data-dir", data).replace(
            "\x1b[1m", ""
        ).replace("\x1b[0m", "")


@pytest.mark.parametrize(
    ("command", "shown_by"),
    [
        (("dead-letters", "show"), "trenza dead-letters list"),
        (("dead-letters", "redrive"), "trenza dead-letters list"),
        (("dead-letters", "discard"), "trenza dead-letters list"),
        (("tasks", "show"), "trenza tasks list"),
        (("tasks", "cancel"), "trenza tasks list"),
        (("photos", "get"), "trenza photos put"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize(
    ("given", "quoted"), [("01a2005d-c6c6", "01a2005d-c6c6"), ("\x1b[31m", "\\x1b[31m"), ("z" * 500, "z" * 40 + "…")]
)
def test_what_is_no_whole_id_is_told_in_a_line(
    trenza: Trenza, command: tuple[str, ...], shown_by: str, given: str, quoted: str
) -> None:
    result = trenza(*command, given)
    said = f"trenza: ID is '{quoted}', which is no whole id: one has 36 characters, as `{shown_by}` shows them\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", said)
