"""Following a photo by server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from trenza.services.images.contract import InvalidImageFormat

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform

PHOTO = b"\xff\xd8\xff\xe0 a wall"


def events_in(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, id and data of each event."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found


@pytest.fixture
async def following(platform: Platform) -> AsyncIterator[Any]:
    """Begins to follow a photo; gives the task that ends with its events."""
    tasks: list[asyncio.Task[Any]] = []

    async def follow(photo_id: str, **headers: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(platform.get(f"/api/photos/{photo_id}/events", headers=headers))
        tasks.append(task)
        while not platform.photos.changes._watchers:  # noqa: ASYNC110 - this client gives nothing of an answer before its end
            await asyncio.sleep(0)
        return task

    yield follow
    await asyncio.gather(*tasks)


async def test_a_photo_is_followed_until_it_is_completed(platform: Platform, following: Any) -> None:
    platform.engine.gate.clear()
    photo = (await platform.upload(PHOTO)).json()
    await platform.engine.asked.wait()
    task = await following(photo["id"])
    platform.engine.gate.set()
    answer = await task
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_in(answer.text)
    assert [(name, event_id) for name, event_id, _ in events] == [("processing", "processing-1"), ("completed", "completed-1")]
    assert events[-1][2]["id"] == photo["id"]
    assert list(events[-1][2]["versions"]) == ["thumbnail", "small", "medium", "large"]
    again = events_in((await platform.get(f"/api/photos/{photo['id']}/events")).text)
    assert [name for name, _, _ in again] == ["completed"]


async def test_what_came_already_is_not_repeated(platform: Platform, following: Any) -> None:
    platform.engine.gate.clear()
    photo = (await platform.upload(PHOTO)).json()
    await platform.engine.asked.wait()
    task = await following(photo["id"], **{"Last-Event-ID": "processing-1"})
    platform.engine.refusals.append(InvalidImageFormat("cut short"))
    platform.engine.gate.set()
    events = events_in((await task).text)
    assert [name for name, _, _ in events] == ["failed"]
    assert events[0][2]["error"]["code"] == "INVALID_IMAGE_FORMAT"


async def test_who_connects_again_after_the_last_event_is_told_that_it_was(platform: Platform, following: Any) -> None:
    photo = await platform.stored()
    path = f"/api/photos/{photo['id']}/events"
    again = await platform.get(path, headers={"Last-Event-ID": "completed-1"})
    assert (again.status_code, again.content) == (204, b"")
    missed = events_in((await platform.get(path, headers={"Last-Event-ID": "processing-1"})).text)
    assert [event_id for _, event_id, _ in missed] == ["completed-1"]
    platform.engine.gate.clear()
    platform.engine.asked.clear()
    await platform.ask("POST", "/api/photos/reprocess", json={"versions": "all"})
    await platform.engine.asked.wait()
    task = await following(photo["id"], **{"Last-Event-ID": "completed-1"})
    platform.engine.gate.set()
    assert [event_id for _, event_id, _ in events_in((await task).text)] == ["processing-2", "completed-2"]


async def test_a_deletion_ends_it(platform: Platform, following: Any) -> None:
    platform.engine.gate.clear()
    photo = (await platform.upload(PHOTO)).json()
    await platform.engine.asked.wait()
    task = await following(photo["id"])
    await platform.ask("DELETE", f"/api/photos/{photo['id']}")
    events = events_in((await task).text)
    assert events[-1] == ("deleted", "deleted", {"id": photo["id"], "status": "deleted"})
    platform.engine.gate.set()


async def test_a_process_that_stops_lets_go(platform: Platform, following: Any) -> None:
    platform.engine.gate.clear()
    photo = (await platform.upload(PHOTO)).json()
    await platform.engine.asked.wait()
    task = await following(photo["id"])
    platform.app.state.readiness.drain()
    assert [name for name, _, _ in events_in((await task).text)] == ["processing"]
    platform.engine.gate.set()


async def test_a_photo_that_is_not_there_cannot_be_followed(platform: Platform) -> None:
    answer = await platform.get("/api/photos/01930000-0000-7000-8000-000000000000/events")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
