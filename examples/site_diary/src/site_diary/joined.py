"""The diary as a service of a Trenza deployment: who may do what, what it asks of photos, and what it is told."""

from __future__ import annotations

import asyncio
from typing import Annotated

from site_diary.main import app
from trenza import Contract, Delivery, MountedApp, NoSettings, Resources, Roles, Service, provided, public, reacts, requires
from trenza.services.photos.contract import PhotoCompleted, PhotoFilter, Photos


class SiteDiary(Contract, service="diary", paths=("/diary",)):
    """The diary of a building site. Other services ask nothing of it."""


class JoinedDiary(SiteDiary):
    """The application, with the contract of photos in its hands."""

    def __init__(self, resources: Resources[NoSettings]) -> None:
        self.photos = resources.call(Photos)


@app.get("/projects/{project}/photos")
async def count_photos(project: str, joined: Annotated[JoinedDiary, provided(JoinedDiary)]) -> dict[str, int]:
    """How many photos of a project are completed, 200 at most."""
    page = await joined.photos.list_photos(matching=PhotoFilter(upid=project, status="completed"), limit=200)
    return {"photos": len(page.photos)}


@reacts(PhotoCompleted)
async def write_photo_down(_diary: JoinedDiary, event: PhotoCompleted, _delivery: Delivery) -> None:
    """Note a completed photo; by its reference once, however often the event comes."""
    line = f"A photo of {event.width} x {event.height} pixels was taken."
    await asyncio.to_thread(app.state.diary.write, event.upid, line, reference=f"photo:{event.photo_id}")


access = {"GET /ping": public("monitors ask it"), "POST /projects/{project}/entries": requires("diary:editor")}
service = Service(
    contract=SiteDiary,
    implementation=JoinedDiary,
    roles=Roles("diary", ("editor", "viewer")),
    uses=(Photos,),
    mounted=MountedApp(app, access={**access, "*": requires("diary:viewer")}),
    handlers=(write_photo_down,),
)
