"""What a photo's webhook says, and ordering it in the transaction of what it tells of."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import orjson

from trenza.chassis.blobs.signatures import load_or_create_secret
from trenza.chassis.data import UnitOfWork
from trenza.chassis.service import Resources
from trenza.services.photos.contract import Photo, PhotoCompleted, PhotoDeleted, PhotoFailed, PhotoFailure
from trenza.services.photos.messages import CallBack
from trenza.services.photos.settings import PhotosSettings
from trenza.services.photos.webhooks.receivers import Receivers
from trenza.services.photos.webhooks.sending import post, signature

__all__ = ["Webhooks"]

_PATIENCE: Final = timedelta(days=3)
"""How long one waits for a receiver that is busy or away."""


class Webhooks:
    """Tells the callback URLs of photos."""

    def __init__(self, resources: Resources[PhotosSettings]) -> None:
        self._blobs = resources.blobs
        self._clock = resources.clock
        self._allowed = resources.settings.webhook_reach
        self._authorities = resources.settings.webhook_ca_file
        self._receivers = Receivers(resources.clock)
        self._link_lifetime: timedelta = resources.settings.link_lifetime
        self._configured = resources.settings.webhook_secret
        self._secret_file: Path = resources.platform.data_dir / "keys" / "webhooks.secret"

    async def completed(self, work: UnitOfWork, photo: Photo) -> None:
        """Tell, once this unit of work is stored, that a photo has its versions."""
        told = {"event": PhotoCompleted.message_type, "status": "completed", "versions": photo.versions}
        await self._order(work, photo.callback_url, photo_id=photo.id, upid=photo.upid, **told)

    async def failed(self, work: UnitOfWork, photo: Photo, failure: PhotoFailure) -> None:
        """Tell that no versions could be made of a photo."""
        told = {"event": PhotoFailed.message_type, "status": "failed", "error": failure}
        await self._order(work, photo.callback_url, photo_id=photo.id, upid=photo.upid, **told)

    async def deleted(self, work: UnitOfWork, photo_id: UUID, upid: str, callback_url: str | None) -> None:
        """Tell that a photo has been deleted."""
        told = {"event": PhotoDeleted.message_type, "status": "deleted"}
        await self._order(work, callback_url, photo_id=photo_id, upid=upid, **told)

    async def _order(self, work: UnitOfWork, url: str | None, **told: Any) -> None:
        if url is not None:
            await work.enqueue(CallBack(url=url, occurred_at=self._clock.now(), **told))

    async def send(self, order: CallBack, *, event_id: UUID) -> None:
        """Tell a URL. Sent again after a failure, it carries the same ``event_id``. Raises what `post` raises.

        A host that has given no answer for a while is not asked: `ReceiverBusy`.
        """
        body = orjson.dumps({"id": str(event_id), **await self._content(order)})
        timestamp = str(int(self._clock.now().timestamp()))
        headers = {
            "User-Agent": "Trenza",
            "X-Trenza-Event": order.event,
            "X-Trenza-Event-Id": str(event_id),
            "X-Trenza-Timestamp": timestamp,
            "X-Trenza-Signature": signature(await self._secret(), timestamp, body),
        }
        with self._receivers.attempt(urlsplit(order.url).netloc):
            await post(order.url, body, headers, allowed=self._allowed, authorities=self._authorities)

    def is_stale(self, order: CallBack) -> bool:
        """Whether a receiver has had long enough to be there again."""
        return self._clock.now() - order.occurred_at > _PATIENCE

    async def _content(self, order: CallBack) -> dict[str, object]:
        """What is told; the links to the versions are fresh at each attempt."""
        versions = {}
        for version in order.versions:
            url = await self._blobs.signed_url(version.key, expires_in=self._link_lifetime)
            versions[version.name] = {"url": url, **version.model_dump(exclude={"name", "key"})}
        return {
            "type": order.event,
            **order.model_dump(mode="json", include={"occurred_at", "photo_id", "upid", "status", "error"}),
            "versions": versions,
        }

    async def _secret(self) -> bytes:
        """The configured secret; in development one that is made in the data folder."""
        if self._configured is not None:
            return self._configured.get_secret_value().encode()
        return await asyncio.to_thread(load_or_create_secret, self._secret_file)
