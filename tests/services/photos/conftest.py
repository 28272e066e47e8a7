"""The whole application over a fresh database, with an image engine whose behaviour the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from pydantic_settings import BaseSettings

from trenza import CallFailed, Contract, ContractError, Delivery, Event, Resources, Service, reacts
from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.messages import Messages
from trenza.chassis.runtime.application import assemble
from trenza.chassis.runtime.signing import signing_key
from trenza.chassis.settings import PlatformSettings
from trenza.services.images.contract import ImageInfo, Images, InvalidImageFormat, Location, Rendered, RenderedImage, Rendition
from trenza.services.photos.contract import PhotoCompleted, PhotoDeleted, PhotoFailed, PhotoUploaded
from trenza.services.photos.service import PhotosService
from trenza.services.photos.wiring import service as photos_service

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"


def jpeg(content: bytes = b"") -> bytes:
    """A file that begins like a JPEG; the stand-in engine asks for no more."""
    return JPEG + content


class StandInEngine(Images):
    """An image engine that writes small files and fails when told to."""

    def __init__(self, resources: Resources[Any]) -> None:
        self._blobs = resources.blobs
        self.down = False
        self.refusals: list[ContractError] = []
        """What the next renders are refused with."""
        self.gate = asyncio.Event()
        """Renders wait here; open unless the test closes it."""
        self.gate.set()
        self.asked = asyncio.Event()
        """Set when a render has begun."""
        self.rendered: list[str] = []
        self.taken_at: datetime | None = None
        self.location: Location | None = None

    def _look(self) -> None:
        if self.down:
            raise CallFailed("images", "any", "the engine is down", ran=False)

    async def inspect(self, *, source: str) -> ImageInfo:
        """Judge by the first bytes."""
        self._look()
        content = await self._blobs.get(source)
        if not content.startswith(JPEG[:3]):
            raise InvalidImageFormat("The file cannot be used: it is a text, not an image.", field="file")
        return ImageInfo(media_type="image/jpeg", width=4000, height=3000, bytes=len(content), extension="jpg")

    async def render(self, *, source: str, renditions: tuple[Rendition, ...]) -> Rendered:
        """Write the name of each version as its content."""
        self.asked.set()
        await self.gate.wait()
        self._look()
        if self.refusals:
            raise self.refusals.pop(0)
        self.rendered.append(source)
        made = []
        for order in renditions:
            content = f"{order.name} of {source}".encode()
            await self._blobs.put(order.key, content, media_type=order.media_type)
            size = len(content)
            made.append(
                RenderedImage(
                    name=order.name, key=order.key, width=order.width, height=30, bytes=size, media_type=order.media_type
                )
            )
        return Rendered(width=3000, height=4000, taken_at=self.taken_at, location=self.location, renditions=tuple(made))


class Diary(Contract, service="diary"):
    """A service that listens."""


class DiaryKeeper(Diary):
    """Keeps every event of photos that reaches it."""

    def __init__(self, _resources: Resources[Any]) -> None:
        self.entries: list[Event] = []
        self._written = asyncio.Event()

    def write(self, event: Event) -> None:
        """Take an event."""
        self.entries.append(event)
        self._written.set()

    async def of(self, kind: type[Event]) -> Event:
        """The first event of a kind, once it is there."""
        while True:
            for event in self.entries:
                if isinstance(event, kind):
                    return event
            self._written.clear()
            async with asyncio.timeout(20):
                await self._written.wait()


class NoSettings(BaseSettings):
    """Nothing to set."""


@reacts(PhotoUploaded)
async def on_uploaded(diary: DiaryKeeper, event: PhotoUploaded, _delivery: Delivery) -> None:
    diary.write(event)


@reacts(PhotoCompleted)
async def on_completed(diary: DiaryKeeper, event: PhotoCompleted, _delivery: Delivery) -> None:
    diary.write(event)


@reacts(PhotoFailed)
async def on_failed(diary: DiaryKeeper, event: PhotoFailed, _delivery: Delivery) -> None:
    diary.write(event)


@reacts(PhotoDeleted)
async def on_deleted(diary: DiaryKeeper, event: PhotoDeleted, _delivery: Delivery) -> None:
    diary.write(event)


ENGINE = Service(contract=Images, implementation=StandInEngine, settings=NoSettings)
DIARY = Service(
    contract=Diary,
    implementation=DiaryKeeper,
    settings=NoSettings,
    handlers=(on_uploaded, on_completed, on_failed, on_deleted),
)


@dataclass
class Platform:
    """A running application and a client of it."""

    app: FastAPI
    http: httpx.AsyncClient
    settings: PlatformSettings
    scopes: tuple[str, ...] = ("photos:admin",)
    _tokens: dict[tuple[str, ...], str] = field(default_factory=dict)

    @property
    def engine(self) -> StandInEngine:
        """The stand-in for the image engine."""
        found: StandInEngine = self.app.state.implementations[StandInEngine]
        return found

    @property
    def diary(self) -> DiaryKeeper:
        """What other services were told."""
        found: DiaryKeeper = self.app.state.implementations[DiaryKeeper]
        return found

    @property
    def photos(self) -> PhotosService:
        """The service itself."""
        found: PhotosService = self.app.state.implementations[PhotosService]
        return found

    @property
    def tasks(self) -> Messages:
        """The tasks of photos."""
        found: Messages = self.app.state.assembly.messages["photos"]
        return found

    def token(self, *scopes: str, subject: str = "ana") -> str:
        """A token with these scopes."""
        wanted = (subject, *scopes)
        if wanted not in self._tokens:
            self._tokens[wanted] = issue_token(signing_key(self.settings), subject, scopes, timedelta(hours=1))
        return self._tokens[wanted]

    async def ask(self, method: str, path: str, *, scopes: tuple[str, ...] | None = None, **options: Any) -> httpx.Response:
        """A request under these scopes, `photos:admin` by default."""
        headers = {"Authorization": f"Bearer {self.token(*(scopes or self.scopes))}"} | (options.pop("headers", None) or {})
        return await self.http.request(method, path, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """A GET."""
        return await self.ask("GET", path, **options)

    async def upload(self, *contents: bytes, wait: float | None = None, upid: str = "UP-1", **fields: str) -> httpx.Response:
        """Upload files, named photo-0.jpg and so on."""
        files = [("file", (f"photo-{index}.jpg", content, "image/jpeg")) for index, content in enumerate(contents)]
        headers = {} if wait is None else {"Prefer": f"wait={wait}"}
        return await self.ask("POST", "/api/photos/upload", files=files, data={"upid": upid, **fields}, headers=headers)

    async def stored(self, content: bytes = b"", *, upid: str = "UP-1", **fields: str) -> dict[str, Any]:
        """A completed photo."""
        answer = await self.upload(jpeg(content), wait=20, upid=upid, **fields)
        assert answer.status_code == 201, answer.text
        photo: dict[str, Any] = answer.json()
        return photo

    async def settled(self, photo_id: str) -> dict[str, Any]:
        """A photo once its processing has ended."""
        found = await self.photos.get_photo(photo_id=UUID(photo_id))
        await self.photos.settled(found, timeout=20)
        photo: dict[str, Any] = (await self.get(f"/api/photos/{photo_id}")).json()
        return photo

    async def objects(self, prefix: str = "photos") -> set[str]:
        """The keys of all stored objects."""
        return {stat.key async for stat in self.photos.blobs.list(prefix)}


Start = Callable[[], AbstractAsyncContextManager[Platform]]


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> PlatformSettings:
    """Embedded defaults in a fresh folder, over each kind of database."""
    shared = None if database_url.startswith("sqlite") else database_url
    return PlatformSettings(data_dir=tmp_path / "data", public_url="http://test", database_url=shared)


@pytest.fixture
def start(settings: PlatformSettings) -> Start:
    """Starts the application; a second start continues where the first ended."""

    @asynccontextmanager
    async def running() -> AsyncIterator[Platform]:
        app = assemble((ENGINE, photos_service, DIARY), settings)
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as http,
        ):
            yield Platform(app, http, settings)

    return running


@pytest.fixture
async def platform(start: Start) -> AsyncIterator[Platform]:
    """The running application."""
    async with start() as running:
        yield running
