"""Hostile pictures sent to a real server: each gets its answer, readiness never falters, and the spool is empty afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from trenza.chassis.testing.hostile_corpus import CORPUS, RENDERED
from trenza.chassis.testing.hostile_pictures import FAKES

if TYPE_CHECKING:
    from tests.faults.conftest import MakeInstallation

SENT = (
    "png of gigabytes",
    "png that unpacks to far more than its pixels",
    "png with one row of many",
    "tiff deflated thousandfold",
    "tiff of 65535 bands",
    "webp of a canvas larger than its frame",
    "avif of more pixels than it holds",
    "jpeg of endless scans",
    "jpeg of more pixels than it holds",
    "jpeg and zip",
    "exif whose details are itself",
    "icc of a huge tag table",
    "animated avif",
    *(f"fake: {name}" for name in FAKES if name != "empty"),  # browsers send an empty file for no file
)


async def watch(client: httpx.AsyncClient, answers: list[int]) -> None:
    """Ask for readiness again and again."""
    while True:
        answers.append((await client.get("/health/ready")).status_code)
        await asyncio.sleep(0.02)


async def settled(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All photos, once none is in the making: a slow machine may take longer than an upload waits."""
    while True:
        photos: list[dict[str, Any]] = (await client.get("/api/photos", params={"limit": "100"})).json()["items"]
        if all(photo["status"] in ("completed", "failed") for photo in photos):
            return photos
        await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
async def test_hostile_pictures_are_answered_and_leave_nothing(make_installation: MakeInstallation) -> None:
    installation = make_installation()
    readiness: list[int] = []
    async with installation.serving() as server, installation.client(server) as client:

        async def send(name: str) -> str:
            """A photo of a wrong name and a wrong type; the code that it ends with."""
            answer = await client.post(
                "/api/photos/upload",
                files={"file": ("holiday.jpg", CORPUS[name].make(), "image/jpeg")},
                data={"upid": "UNP-FAULT"},
                headers={"Prefer": "wait=60"},
            )
            if answer.status_code in (201, 202):
                (photo,) = [photo for photo in await settled(client) if photo["id"] == answer.json()["id"]]
                return RENDERED if photo["status"] == "completed" else str(photo["error"]["code"])
            assert answer.headers["content-type"] == "application/problem+json", answer.text
            assert 400 <= answer.status_code < 500, answer.text
            problem = answer.json()
            assert problem["detail"]
            code: str = problem["code"]
            return code

        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch(client, readiness))
            outcomes = dict(zip(SENT, await asyncio.gather(*map(send, SENT)), strict=True))
            watching.cancel()
        assert outcomes == {name: CORPUS[name].outcome for name in SENT}
        assert set(readiness) == {200}
        assert len(readiness) > 5
        assert not any(path.is_file() for path in (installation.data_dir / "spool").rglob("*"))
        assert await server.stop() == 0
    assert "failed" not in await installation.inbox_states()
