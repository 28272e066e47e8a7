"""The examples join by their deployment files, beside the real services, on both kinds of database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from trenza.chassis.runtime.deployment import read_deployment
from trenza.chassis.runtime.loading import load_services
from trenza.chassis.testing import RunningServices, differences_of_tables, run_services
from trenza.chassis.testing.pictures import encoded, marked

EXAMPLES = Path(__file__).parents[2] / "examples"


@asynccontextmanager
async def deployed(example: str, tmp_path: Path, database_url: str) -> AsyncIterator[RunningServices]:
    """The services of an example's deployment file."""
    services = load_services(read_deployment(str(EXAMPLES / example / "deployment.toml")).services)
    shared = None if database_url.startswith("sqlite") else database_url
    async with run_services(*services, data_dir=tmp_path / "data", database_url=shared) as running:
        yield running


async def upload(running: RunningServices, name: str, *, width: int) -> str:
    """A completed photo of the project UP-1; its id."""
    answer = await running.ask(
        "POST",
        "/api/photos/upload",
        "photos:editor",
        files={"file": (name, encoded(marked(width, 30), "JPEG"), "image/jpeg")},
        data={"upid": "UP-1"},
        headers={"Prefer": "wait=20"},
    )
    assert answer.status_code == 201, answer.text
    photo_id: str = answer.json()["id"]
    return photo_id


async def test_an_inspection_closes_over_real_photos(tmp_path: Path, database_url: str) -> None:
    async with deployed("inspections", tmp_path, database_url) as running:
        order = {"upid": "UP-1", "title": "The north wall", "photos_needed": 2}
        opened = await running.ask("POST", "/api/inspections", "inspections:editor", json=order)
        assert opened.status_code == 201, opened.text
        photo_ids = {await upload(running, "a.jpg", width=40), await upload(running, "b.jpg", width=50)}
        await running.settled()
        closed = (await running.ask("GET", opened.headers["location"], "inspections:viewer")).json()
        assert (closed["status"], set(closed["photo_ids"])) == ("closed", photo_ids)
        report: dict[str, Any] = (await running.ask("GET", f"{opened.headers['location']}/report", "inspections:viewer")).json()
        assert {(photo["id"], photo["status"]) for photo in report["photos"]} == {(each, "completed") for each in photo_ids}


async def test_the_migrations_of_inspections_make_its_tables(database_url: str) -> None:
    [service] = load_services(("inspections",))
    assert await differences_of_tables(service, database_url) == []


async def test_the_diary_hears_of_real_photos_and_asks_for_them(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_DIARY_FILE", str(tmp_path / "diary.sqlite3"))
    async with deployed("site_diary", tmp_path, database_url) as running:
        await upload(running, "a.jpg", width=40)
        await running.settled()
        entries = (await running.ask("GET", "/diary/projects/UP-1/entries", "diary:viewer")).json()
        assert [entry["text"] for entry in entries] == ["A photo of 40 x 30 pixels was taken."]
        counted = await running.ask("GET", "/diary/projects/UP-1/photos", "diary:viewer")
        assert counted.json() == {"photos": 1}


def test_an_existing_application_joins_in_less_than_fifty_lines() -> None:
    joined = (EXAMPLES / "site_diary" / "src" / "site_diary" / "joined.py").read_text()
    existing = (EXAMPLES / "site_diary" / "src" / "site_diary" / "main.py").read_text()
    assert len(joined.splitlines()) < 50
    assert "import trenza" not in existing
    assert "from trenza" not in existing
