"""``trenza messages top``: one look for scripts and for people, beside a running server and without one."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import Result

from trenza.chassis.testing.server_process import ServerProcess
from trenza.cli.message_stores import Scope

Trenza = Callable[..., Result]


@pytest.fixture(params=["sqlite", "postgres"])
def letters(trenza: Trenza, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two messages that nobody can read and one that nobody takes, in the inbox of photos; the data folder."""
    data = tmp_path / "data"
    if request.param == "postgres":
        monkeypatch.setenv("TRENZA_DATABASE_URL", request.getfixturevalue("postgres_url"))
    assert trenza("migrate", "--data-dir", data).exit_code == 0

    async def receive() -> None:
        strange = (
            '{"id":"01890a5d-ac96-774b-bcce-b302099a8057","source":"x","type":"a.B","time":"2026-01-01T00:00:00+00:00","data":{}}'
        )
        async with Scope(data, "monolith", "photos").open() as stores:
            await stores["photos"].receive([b"no envelope", b"another one", strange])

    asyncio.run(receive())
    return data


def test_a_look_says_what_waits_and_what_is_dead(trenza: Trenza, letters: Path) -> None:
    looked = trenza("messages", "top", "--once", "--json", "--data-dir", letters)
    assert looked.exit_code == 0, looked.stderr
    photos: dict[str, Any] = json.loads(looked.stdout)["photos"]
    queues = {(queue["consumer"], queue["type"]): queue for queue in photos["queues"]}
    assert queues["", ""]["dead"] == 2
    assert queues["", "a.B"]["waiting"] == 1
    assert queues["", "a.B"]["oldest_seconds"] >= 0
    assert queues["render_photo", "photos.RenderPhoto"]["waiting"] == 0
    assert (photos["outbox_waiting"], photos["outbox_oldest_seconds"]) == (0, None)


def test_the_table_fits_eighty_columns(trenza: Trenza, letters: Path) -> None:
    looked = trenza("messages", "top", "--once", "--data-dir", letters)
    lines = looked.stdout.splitlines()
    assert lines[0].split() == ["SERVICE", "/", "QUEUE", "WAITING", "DELAYED", "RUNNING", "DEAD", "OLDEST", "DONE/S", "DEAD/S"]
    assert lines[1].split()[:2] == ["photos", "outbox"]
    (dead,) = [line.split() for line in lines if "unreadable" in line]
    assert dead[:6] == ["(nobody)", "unreadable", "-", "-", "-", "2"]
    assert max(map(len, lines)) <= 80


def test_what_was_never_migrated_is_told_in_a_line(trenza: Trenza, tmp_path: Path) -> None:
    looked = trenza("messages", "top", "--once", "--data-dir", tmp_path / "elsewhere")
    assert (looked.exit_code, looked.stderr.count("\n")) == (1, 1)
    assert "photos has no database" in looked.stderr
    empty = tmp_path / "data" / "db"
    empty.mkdir(parents=True)
    (empty / "photos.sqlite3").touch()
    looked = trenza("messages", "top", "--once", "--data-dir", tmp_path / "data")
    assert (looked.exit_code, looked.stderr) == (1, "trenza: migrations are pending for photos: run `trenza migrate` first\n")


async def test_it_watches_a_running_server_until_it_is_interrupted(
    trenza: Trenza, server: ServerProcess, make_photo: Callable[[str], Path]
) -> None:
    program = (sys.executable, "-m", "trenza", "messages", "top")
    options = ("--json", "--seconds", "0.2", "--data-dir", str(server.data_dir))
    top = await asyncio.create_subprocess_exec(
        *program,
        *options,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Shells let what they start in the background ignore Ctrl-C, and so would this, were the tests started so.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert top.stdout is not None
    assert top.stderr is not None
    first = json.loads(await asyncio.wait_for(top.stdout.readline(), 30))
    assert first["photos"]["seconds"] == pytest.approx(10, abs=1)
    where = ("--url", server.url, "--data-dir", server.data_dir)
    put = await asyncio.to_thread(trenza, "photos", "put", make_photo("one.jpg"), "--upid", "UP-1", *where)
    assert put.exit_code == 0, put.stderr
    handled = 0.0
    async with asyncio.timeout(30):
        while handled == 0:
            photos = json.loads(await top.stdout.readline())["photos"]
            rates = {queue["consumer"]: queue["handled_per_second"] * photos["seconds"] for queue in photos["queues"]}
            handled = rates["render_photo"]
    assert handled == pytest.approx(1)
    top.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(top.wait(), 20) == 0
    assert await top.stderr.read() == b""

    operator = {"Authorization": f"Bearer {await server.token('platform:viewer')}"}
    async with httpx.AsyncClient(base_url=server.url, headers=operator) as client:
        photos = (await client.get("/health/status")).json()["messages"]["photos"]
    assert (photos["waiting"], photos["dead"], photos["handled_per_minute"]) == (0, 0, 1)
