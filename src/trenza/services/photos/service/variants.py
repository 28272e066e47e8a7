"""A version in another format, made when somebody first asks for it and kept beside the JPEG."""

from __future__ import annotations

import asyncio
from typing import Final

from trenza.chassis.contract import CallFailed, ContractError
from trenza.chassis.service import Resources
from trenza.chassis.telemetry.logs import get_logger
from trenza.services.images.contract import Images, Rendition
from trenza.services.photos import rules
from trenza.services.photos.contract import Photo, PhotoVersion
from trenza.services.photos.rules import VariantType
from trenza.services.photos.settings import PhotosSettings

__all__ = ["Variants"]

_log = get_logger(__name__)

_EXTENSIONS: Final[dict[VariantType, str]] = {"image/webp": "webp", "image/avif": "avif"}


class Variants:
    """Makes versions in WebP and AVIF from the original, each once however many ask at the same time."""

    def __init__(self, resources: Resources[PhotosSettings]) -> None:
        self._blobs = resources.blobs
        self._images = resources.call(Images)
        self._qualities: dict[VariantType, int] = {
            "image/webp": resources.settings.webp_quality,
            "image/avif": resources.settings.avif_quality,
        }
        self._making: dict[str, asyncio.Task[bool]] = {}

    async def variant(self, photo: Photo, version: PhotoVersion, media_type: VariantType) -> PhotoVersion:
        """The version in that format, of the same size in pixels; the version itself when it cannot be made now.

        Its key names size and quality, so that other presets never meet an old file. Two processes that make it at the same time
        write the same object twice.
        """
        quality = self._qualities[media_type]
        key = rules.variant_key(photo, version, quality, _EXTENSIONS[media_type])
        if await self._blobs.stat(key) is None and not await self._made_once(photo, version, media_type, key):
            return version
        return version.model_copy(update={"key": key, "media_type": media_type})

    async def _made_once(self, photo: Photo, version: PhotoVersion, media_type: VariantType, key: str) -> bool:
        making = self._making.get(key)
        if making is None:
            making = asyncio.create_task(self._make(photo, version, media_type, key))
            self._making[key] = making
            making.add_done_callback(lambda _: self._making.pop(key))
        # Who leaves does not take it from the others.
        return await asyncio.shield(making)

    async def _make(self, photo: Photo, version: PhotoVersion, media_type: VariantType, key: str) -> bool:
        order = Rendition(
            name=version.name,
            key=key,
            width=version.width,
            height=version.height,
            fit="cover",  # to the very size of the version, which has the image's shape or is a crop of its middle
            media_type=media_type,
            quality=self._qualities[media_type],
        )
        try:
            await self._images.render(source=photo.original_key, renditions=(order,))
        except (CallFailed, ContractError) as error:
            _log.warning("variant not made, the version is given instead", photo_id=str(photo.id), reason=str(error))
            return False
        return True
