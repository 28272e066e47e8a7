"""All the SQL of photos; gives and takes contract values, never rows."""

from __future__ import annotations

from trenza.services.photos.store.maintenance import find_maintenance, keep_maintenance
from trenza.services.photos.store.purging import any_photo, deleted_before, forget_photos, known_objects
from trenza.services.photos.store.records import (
    SameBytesExist,
    add,
    begin,
    complete,
    fail,
    find,
    find_same_bytes,
    hide,
    page,
    put_back,
    retry,
    status_of,
    unit_of,
)
from trenza.services.photos.store.requeueing import batch_to_requeue, count_to_requeue, requeue
from trenza.services.photos.store.uploads import add_upload, expired_uploads, find_upload, finish_upload, forget_uploads

__all__ = [
    "SameBytesExist",
    "add",
    "add_upload",
    "any_photo",
    "batch_to_requeue",
    "begin",
    "complete",
    "count_to_requeue",
    "deleted_before",
    "expired_uploads",
    "fail",
    "find",
    "find_maintenance",
    "find_same_bytes",
    "find_upload",
    "finish_upload",
    "forget_photos",
    "forget_uploads",
    "hide",
    "keep_maintenance",
    "known_objects",
    "page",
    "put_back",
    "requeue",
    "retry",
    "status_of",
    "unit_of",
]
