"""The contract as other services see it, in both call modes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from trenza.chassis.testing import CallMode, bind, call_modes
from trenza.services.images.contract import InvalidImageFormat
from trenza.services.photos.contract import InvalidUpid, NotRetryable, PhotoFilter, PhotoNotFound, Photos

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform

UNKNOWN = UUID("01930000-0000-7000-8000-000000000000")


@call_modes
async def test_a_photo_is_given_with_the_keys_of_its_objects(platform: Platform, call_mode: CallMode) -> None:
    stored = await platform.stored(stage="antes", location="3.45,-76.53")
    async with bind(Photos, platform.photos, call_mode) as photos:
        photo = await photos.get_photo(photo_id=UUID(stored["id"]))
        assert (photo.upid, photo.status, photo.stage) == ("UP-1", "completed", "antes")
        assert photo.location is not None
        assert photo.location.latitude == 3.45
        keys = {photo.original_key, *(version.key for version in photo.versions)}
        assert keys == await platform.objects()
        with pytest.raises(PhotoNotFound):
            await photos.get_photo(photo_id=UNKNOWN)


@call_modes
async def test_lists_go_on_after_their_last_photo(platform: Platform, call_mode: CallMode) -> None:
    stored = [(await platform.stored(bytes([n]), upid=f"UP-{n % 2}"))["id"] for n in range(4)]
    async with bind(Photos, platform.photos, call_mode) as photos:
        first = await photos.list_photos(limit=3)
        assert [str(photo.id) for photo in first.photos] == stored[:0:-1]
        rest = await photos.list_photos(after=first.next, limit=3)
        assert [str(photo.id) for photo in rest.photos] == stored[:1]
        assert rest.next is None
        of_one = await photos.list_photos(matching=PhotoFilter(upid="UP-1"))
        assert {photo.upid for photo in of_one.photos} == {"UP-1"}
        assert len(of_one.photos) == 2
        with pytest.raises(InvalidUpid) as caught:
            await photos.list_photos(matching=PhotoFilter(upid="../x"))
        assert caught.value.fields["field"] == "upid"


@call_modes
async def test_deleting_twice_is_fine_and_retrying_is_for_failures(platform: Platform, call_mode: CallMode) -> None:
    stored = await platform.stored()
    platform.engine.refusals.append(InvalidImageFormat("cut short"))
    failed = (await platform.upload(b"\xff\xd8\xff\xe0", wait=20)).json()["photo"]
    async with bind(Photos, platform.photos, call_mode) as photos:
        with pytest.raises(NotRetryable):
            await photos.retry_photo(photo_id=UUID(stored["id"]))
        photo = await photos.retry_photo(photo_id=UUID(failed["id"]))
        assert photo.status == "queued"
        assert photo.error is None
        for _ in range(2):
            await photos.delete_photo(photo_id=UUID(stored["id"]))
        with pytest.raises(PhotoNotFound):
            await photos.get_photo(photo_id=UUID(stored["id"]))
        with pytest.raises(PhotoNotFound):
            await photos.delete_photo(photo_id=UNKNOWN)
        with pytest.raises(PhotoNotFound):
            await photos.retry_photo(photo_id=UNKNOWN)
    assert (await platform.settled(failed["id"]))["status"] == "completed"
