"""Processing many photos again: given up, failed, and completed ones whose versions are to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from trenza.services.images.contract import InvalidImageFormat

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform, Start

PATH = "/api/photos/reprocess"
PHOTO = b"\xff\xd8\xff\xe0 a wall"


async def failed_photo(platform: Platform, content: bytes = b"", upid: str = "UP-1") -> dict[str, Any]:
    platform.engine.refusals.append(InvalidImageFormat("The image is cut short."))
    photo: dict[str, Any] = (await platform.upload(PHOTO + content, wait=20, upid=upid)).json()["photo"]
    return photo


async def reprocess(platform: Platform, **order: Any) -> int:
    """Order it, wait until the photos are queued, and say how many there were."""
    answer = await platform.ask("POST", PATH, json=order)
    assert answer.status_code == 202, answer.text
    task = await platform.tasks.wait(UUID(answer.json()["task_id"]), timeout=20)
    assert task is not None
    assert task.state == "completed"
    matching: int = answer.json()["matching"]
    return matching


async def test_failed_photos_are_queued_again(platform: Platform) -> None:
    there, elsewhere = await failed_photo(platform), await failed_photo(platform, upid="UP-2")
    fine = await platform.stored()
    assert await reprocess(platform, upid="UP-2") == 1
    assert (await platform.settled(elsewhere["id"]))["status"] == "completed"
    assert (await platform.get(f"/api/photos/{there['id']}")).json()["status"] == "failed"
    assert await reprocess(platform, status="failed") == 1
    photo = await platform.settled(there["id"])
    assert (photo["status"], photo["attempts"], photo["error"]) == ("completed", 2, None)
    assert (await platform.get(f"/api/photos/{fine['id']}")).json()["attempts"] == 1


async def test_there_may_be_more_than_one_batch(platform: Platform) -> None:
    platform.engine.refusals += [InvalidImageFormat("The image is cut short.")] * 52
    files = [PHOTO + str(n).encode() for n in range(52)]
    answers = [await platform.upload(*files[at : at + 13]) for at in range(0, 52, 13)]
    failed = [result["photo"] for answer in answers for result in answer.json()["results"]]
    assert [(await platform.settled(photo["id"]))["status"] for photo in failed] == ["failed"] * 52
    assert await reprocess(platform) == 52
    batches = [task.id for task in (await platform.tasks.list(limit=200)).tasks if task.type == "photos.ReprocessPhotos"]
    assert len(batches) == 2
    for batch in batches:
        await platform.tasks.wait(batch, timeout=20)
    photos = [await platform.settled(photo["id"]) for photo in failed]
    assert {(photo["status"], photo["attempts"]) for photo in photos} == {("completed", 2)}


async def test_a_photo_whose_task_is_running_is_not_done_twice(platform: Platform) -> None:
    platform.engine.gate.clear()
    photo = (await platform.upload(PHOTO)).json()
    await platform.engine.asked.wait()
    assert await reprocess(platform, status="pending") == 1
    platform.engine.gate.set()
    photo = await platform.settled(photo["id"])
    assert (photo["status"], photo["attempts"]) == ("completed", 1)


async def test_a_photo_whose_task_was_given_up_gets_another(platform: Platform) -> None:
    platform.engine.down = True
    photo = (await platform.upload(PHOTO, wait=1)).json()
    record = await platform.photos.get_photo(photo_id=UUID(photo["id"]))
    assert await platform.tasks.cancel(record.render_task)
    await platform.tasks.wait(record.render_task, timeout=20)
    platform.engine.down = False
    assert await reprocess(platform, status="pending") == 1
    assert (await platform.settled(photo["id"]))["status"] == "completed"


async def test_other_presets_are_applied_to_what_is_completed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start() as platform:
        photo = await platform.stored()
        assert await reprocess(platform) == 0
    monkeypatch.setenv("TRENZA_PHOTOS_PRESETS", '[{"name": "tiny", "width": 16, "height": 16, "fit": "cover", "quality": 50}]')
    async with start() as platform:
        platform.engine.gate.clear()
        assert await reprocess(platform, status="completed", versions="all") == 1
        # The versions that there are stay readable until the new ones are made.
        assert (await platform.get(f"/api/photos/{photo['id']}/small")).status_code == 200
        platform.engine.gate.set()
        assert list((await platform.settled(photo["id"]))["versions"]) == ["tiny"]


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"status": "completed"}, "versions"),
        ({"upid": "../x"}, "upid"),
        ({"status": "deleted"}, "status"),
        ({"stage": "antes"}, "stage"),
    ],
)
async def test_a_wrong_order_is_refused(platform: Platform, order: dict[str, Any], field: str) -> None:
    answer = await platform.ask("POST", PATH, json=order)
    assert answer.status_code == 422
    assert answer.json().get("field") == field
