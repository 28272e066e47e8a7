"""The image engine: judges images by their headers, and has them rendered by confined worker processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import orjson

from trenza.chassis.blobs import BlobMissing, BlobStat, discard
from trenza.chassis.service import Resources
from trenza.chassis.telemetry.logs import get_logger
from trenza.services.images.contract import (
    ImageInfo,
    Images,
    ImageTooLarge,
    InvalidImageFormat,
    Location,
    ProcessingFailed,
    ProcessingTimeout,
    Rendered,
    RenderedImage,
    Rendition,
    SourceMissing,
)
from trenza.services.images.headers import FORMATS
from trenza.services.images.inspection import accepted_formats, inspect_blob, inspect_file, judge_size
from trenza.services.images.measures import count_given_up, count_rendered, measured
from trenza.services.images.settings import ImagesSettings
from trenza.services.images.verification import check_outputs
from trenza.services.images.workers import answers
from trenza.services.images.workers.pool import WorkerPool
from trenza.services.images.workers.worker import Confinement, WorkerDied

__all__ = ["ImageEngine"]

_FORMAT_BY_MEDIA_TYPE = {known.media_type: name for name, known in FORMATS.items()}
_log = get_logger(__name__)
_OUTPUT_EXTENSIONS = {"image/jpeg": ".jpg", "image/webp": ".webp", "image/avif": ".avif"}


class ImageEngine(Images):
    """Implements `Images` over the platform's objects and a pool of worker processes. It keeps nothing and needs no database."""

    def __init__(self, resources: Resources[ImagesSettings]) -> None:
        self._settings = resources.settings
        self._blobs = resources.blobs
        scratch = self._blobs.new_spool_file().parent
        self.workers = WorkerPool(
            Confinement(self._settings.memory_bytes, self._settings.scratch_bytes, scratch, self._settings.niceness),
            size=self._settings.workers,
            jobs_per_worker=self._settings.images_per_worker,
            idle_seconds=self._settings.idle_seconds,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The time in which the engine works. Workers start with the first image, unless ``prewarm`` is set."""
        try:
            if self._settings.prewarm:
                await self.workers.warm()
            yield
        finally:
            await self.workers.close()

    async def check(self) -> None:
        """Raise `WorkerUnavailable` when workers cannot be started."""
        await self.workers.check()

    async def inspect(self, *, source: str) -> ImageInfo:
        """Judge an image by its header alone; reads a few kilobytes."""
        with measured("inspect"):
            return await inspect_blob(self._blobs, source, self._settings)

    async def render(self, *, source: str, renditions: tuple[Rendition, ...]) -> Rendered:
        """Decode once in a worker, then store every rendition; on a failure none of them stays."""
        if len({rendition.key for rendition in renditions}) < len(renditions):
            raise ValueError("two renditions would be written under one key")
        with measured("render"):
            try:
                async with self._blobs.as_file(source) as path:
                    info = await asyncio.to_thread(inspect_file, path, self._settings)
                    return await self._render(path, info, renditions)
            except (BlobMissing, FileNotFoundError):
                raise SourceMissing(f"No object is stored under {source!r}.", field="source") from None

    async def _render(self, path: Path, info: ImageInfo, renditions: tuple[Rendition, ...]) -> Rendered:
        """Have one local file rendered, and store the results."""
        outputs = [self._blobs.new_spool_file(_OUTPUT_EXTENSIONS[rendition.media_type]) for rendition in renditions]
        try:
            answer = await self._ask(path, info, renditions, outputs)
            await asyncio.to_thread(check_outputs, renditions, outputs, answer.sizes)
            images = await self._store(renditions, outputs, answer.sizes)
        finally:
            for output in outputs:
                discard(output)
        location = None
        if answer.latitude is not None and answer.longitude is not None:
            location = Location(latitude=answer.latitude, longitude=answer.longitude)
        count_rendered(answer.path)
        return Rendered(
            width=answer.width,
            height=answer.height,
            taken_at=answer.taken_at,
            location=location,
            renditions=images,
            thumbhash=answer.thumbhash,
            dominant_colour=answer.dominant_colour,
        )

    def _job(self, path: Path, info: ImageInfo, renditions: Sequence[Rendition], outputs: Sequence[Path], *, fast: bool) -> bytes:
        """The job, as `jobs.RenderJob` describes it."""
        return orjson.dumps(
            {
                "source": str(path.absolute()),
                "format": _FORMAT_BY_MEDIA_TYPE[info.media_type],
                "max_pixels": self._settings.max_pixels,
                "max_side": self._settings.max_side,
                "processor_seconds": self._settings.processor_seconds,
                "fast": fast,
                "outputs": [
                    {"path": str(output.absolute()), **rendition.model_dump(exclude={"name", "key"})}
                    for rendition, output in zip(renditions, outputs, strict=True)
                ],
            }
        )

    async def _ask(
        self, path: Path, info: ImageInfo, renditions: Sequence[Rendition], outputs: Sequence[Path]
    ) -> answers.Rendered:
        """Have the image rendered; failures become the contract's.

        When a worker gave up, another does the job once more without the fast path, so that the verdict is libvips'.
        """
        answer = await self._run(self._job(path, info, renditions, outputs, fast=self._settings.fast_jpeg))
        if isinstance(answer, answers.Unsuited):
            count_given_up()
            _log.info("image worker gave up on a damaged JPEG; libvips judges it", said=answer.detail)
            answer = await self._run(self._job(path, info, renditions, outputs, fast=False))
        if isinstance(answer, answers.Unsuited):
            raise ProcessingFailed("The worker answered what was not asked.", field="file")
        if isinstance(answer, answers.Refused):
            self._refuse(answer)
        return answer

    async def _run(self, job: bytes) -> answers.Rendered | answers.Unsuited | answers.Refused:
        """Have one job done; deaths and time-outs become the contract's."""
        try:
            return await self.workers.run(job, timeout=self._settings.timeout_seconds)
        except WorkerDied as death:
            if death.out_of_processor_time:
                self._refuse_time(self._settings.processor_seconds, "seconds of processor time", death)
            raise ProcessingFailed(
                "The decoder crashed on this image.", field="file", remedy="try again; if it fails again, save it anew"
            ) from death
        except TimeoutError as error:
            if self._settings.timeout_seconds <= self._settings.processor_seconds:
                self._refuse_time(self._settings.timeout_seconds, "seconds", error)
            raise ProcessingFailed(  # with all that time to itself, it would have reached the other limit
                f"The image was not done after {self._settings.timeout_seconds:g} seconds, most of which it had to wait: the "
                "machine is busy, or the decoder hangs.",
                field="file",
                remedy="try again; if it fails again when the machine is quiet, save the image anew",
            ) from error

    def _refuse(self, refusal: answers.Refused) -> NoReturn:
        """Raise the contract's error for what a worker found wrong with an image."""
        if refusal.reason == "damaged":
            raise InvalidImageFormat(
                "The image is damaged or cut short: its pixels cannot be decoded.",
                field="file",
                limit=accepted_formats(self._settings),
                remedy="send the complete file, as the camera or the program saved it",
            )
        if refusal.reason == "memory":
            # Not `ProcessingFailed`, which may be tried again: this image will need as much every time.
            raise ImageTooLarge(
                f"Decoding this image takes more than the {self._settings.memory_bytes // 1024**2:,} MiB of memory allowed.",
                field="file",
                limit=self._settings.memory_bytes,
                unit="bytes of memory",
                remedy="scale it down and send it again",
            )
        # The decoder found another size than the header gave, too large or with a zero side.
        judge_size(refusal.width or 0, refusal.height or 0, self._settings)
        raise ProcessingFailed("The worker refused a size that is allowed.", field="file")

    def _refuse_time(self, limit: float, unit: str, cause: Exception) -> NoReturn:
        raise ProcessingTimeout(
            f"Processing this image takes more than the {limit:g} {unit} allowed.",
            field="file",
            limit=limit,
            unit=unit,
            remedy="scale it down, or save it as an ordinary JPEG, and send it again",
        ) from cause

    async def _store(
        self, renditions: Sequence[Rendition], outputs: Sequence[Path], sizes: Sequence[tuple[int, int]]
    ) -> tuple[RenderedImage, ...]:
        """Put every output under its key; when one cannot be put, the others are removed again.

        Cancelled meanwhile, the puts still end, and what they stored stays: whoever asks again writes the same keys, perhaps at
        this very moment, and a late removal would take that away.
        """
        puts = asyncio.gather(
            *(
                self._blobs.put_file(rendition.key, output, media_type=rendition.media_type)
                for rendition, output in zip(renditions, outputs, strict=True)
            ),
            return_exceptions=True,
        )
        try:
            results = await asyncio.shield(puts)
        except asyncio.CancelledError:
            await puts
            raise
        if failures := [result for result in results if isinstance(result, BaseException)]:
            await self._blobs.delete(*(rendition.key for rendition in renditions))
            raise failures[0]
        return tuple(
            RenderedImage(
                name=rendition.name,
                key=rendition.key,
                width=width,
                height=height,
                bytes=stored.size,
                media_type=rendition.media_type,
            )
            for rendition, (width, height), stored in zip(renditions, sizes, results, strict=True)
            if isinstance(stored, BlobStat)
        )
