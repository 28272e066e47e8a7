"""The background work of photos: making the versions of one photo, exactly once whatever is killed."""

from __future__ import annotations

import time
from typing import Final

from trenza.chassis.contract import CallFailed, ContractError
from trenza.chassis.messages.definitions import Backoff, Delivery, Postpone, Reject, Retry, Schedule, handles
from trenza.chassis.telemetry.logs import get_logger
from trenza.services.images.contract import ProcessingFailed
from trenza.services.photos import counters
from trenza.services.photos.messages import (
    CallBack,
    ForgetAnswers,
    PurgeDeleted,
    RenderPhoto,
    ReprocessPhotos,
    SweepOrphans,
    SweepUploads,
)
from trenza.services.photos.service import PhotosService
from trenza.services.photos.webhooks.addresses import AddressForbidden
from trenza.services.photos.webhooks.receivers import ReceiverBusy, WebhookFailed
from trenza.services.photos.webhooks.sending import ReceiverGone

__all__ = ["HANDLERS", "SCHEDULES"]

_log = get_logger(__name__)

_TRIES: Final = 3
"""How often the engine may lose a worker on one photo before it counts as failed. What took too long will do so again."""


# The many attempts are for what is not the photo's fault: a process that is killed uses one up, and so does a full disk. After
# the last one the message is a dead letter, the photo stays "processing", and redriving the letter goes on where it stopped.
@handles(RenderPhoto, attempts=25, timeout=150)
async def render_photo(photos: PhotosService, order: RenderPhoto, delivery: Delivery) -> None:
    """Make the versions of a photo.

    A refusal of the image ends in ``failed``; an engine that is down is waited for, however long. Until the delivery is finished
    everything can be done again: the same objects are overwritten, and the record changes together with the mark "handled".
    """
    processing = photos.processing
    photo = await processing.begin(order.photo_id)
    if photo is None:
        return
    began = time.perf_counter()
    try:
        rendered = await processing.render(photo)
    except CallFailed as failure:
        seconds = await processing.put_back(photo)
        raise Postpone(f"the image engine does not answer: {failure.reason}", seconds=seconds) from failure
    except ContractError as refusal:
        if isinstance(refusal, ProcessingFailed) and delivery.attempt < _TRIES:
            raise Retry(refusal.detail) from refusal
        async with delivery.finish() as work:
            await processing.fail(work, photo, refusal)
        _log.info("photo failed", photo_id=str(photo.id), code=refusal.code, detail=refusal.detail)
        return
    async with delivery.finish() as work:
        completed = await processing.complete(work, photo, rendered)
    counters.processing_seconds.observe(time.perf_counter() - began)
    if not completed:  # deleted meanwhile; a crash right here leaves them to the purge of deleted photos
        await processing.discard_versions(photo)


@handles(ReprocessPhotos, attempts=25)
async def reprocess_photos(photos: PhotosService, order: ReprocessPhotos, delivery: Delivery) -> None:
    """Queue a batch of photos again, and order the next batch."""
    async with delivery.finish() as work:
        queued = await photos.reprocess.requeue(work, order)
    _log.info("photos queued again", photos=queued, upid=order.upid)


# Ten attempts within some four hours; then it is a dead letter, which can be redriven. What a host that is away is not even
# asked for costs no attempt, for up to three days.
@handles(CallBack, attempts=10, timeout=30, concurrency=4, backoff=Backoff(base=2, factor=4, cap=3600))
async def call_back(photos: PhotosService, order: CallBack, delivery: Delivery) -> None:
    """Tell a URL what became of a photo. What must not be reached, or is gone, is not tried again."""
    try:
        await photos.webhooks.send(order, event_id=delivery.message_id)
    except (AddressForbidden, ReceiverGone) as error:
        raise Reject(str(error)) from error
    except ReceiverBusy as busy:
        if photos.webhooks.is_stale(order):
            raise Reject(f"{busy}; it was waited for long enough") from busy
        raise Postpone(str(busy), seconds=busy.seconds) from busy
    except WebhookFailed as error:
        raise Retry(str(error)) from error


@handles(ForgetAnswers)
async def forget_answers(photos: PhotosService, _order: ForgetAnswers, _delivery: Delivery) -> None:
    """Remove the answers kept for idempotency keys that have expired."""
    await photos.idempotency.purge()


@handles(SweepUploads, timeout=600)
async def sweep_uploads(photos: PhotosService, _order: SweepUploads, _delivery: Delivery) -> None:
    """Remove direct uploads that were never completed, with what was put for them."""
    if swept := await photos.direct_uploads.sweep():
        _log.info("direct uploads swept", uploads=swept)


@handles(PurgeDeleted, timeout=3600)
async def purge_deleted(photos: PhotosService, _order: PurgeDeleted, _delivery: Delivery) -> None:
    """Remove photos that were deleted longer ago than the retention."""
    if purged := await photos.purge.deleted():
        _log.info("deleted photos purged", photos=purged)


@handles(SweepOrphans, timeout=3600)
async def sweep_orphans(photos: PhotosService, _order: SweepOrphans, _delivery: Delivery) -> None:
    """Remove objects that belong to no photo."""
    if swept := await photos.purge.orphans():
        _log.warning("orphaned objects swept", objects=swept)


HANDLERS: Final = (render_photo, reprocess_photos, call_back, forget_answers, sweep_uploads, purge_deleted, sweep_orphans)
SCHEDULES: Final = (
    Schedule("forget-answers", cron="17 3 * * *", task=ForgetAnswers()),
    Schedule("sweep-uploads", cron="41 * * * *", task=SweepUploads()),
    Schedule("purge-deleted", cron="23 2 * * *", task=PurgeDeleted()),
    Schedule("sweep-orphans", cron="53 2 * * *", task=SweepOrphans()),
)
