"""The pure decisions about photos."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import get_args
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trenza.services.photos import rules
from trenza.services.photos.contract import InvalidField, InvalidUpid

ID = UUID("01930000-0000-7000-8000-000000000000")
BOGOTA = ZoneInfo("America/Bogota")


# --- states


class Lifecycle(RuleBasedStateMachine):
    """A photo to which anything may happen at any time, as its record sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.state: rules.State = "queued"
        self.completed = False
        self.deleted = False

    @rule(step=st.sampled_from(get_args(rules.Step)))
    def attempt(self, step: rules.Step) -> None:
        if self.state in rules.origins_of(step):
            self.state = rules.target_of(step)
            self.completed = (self.completed and step != "renew") or self.state == "completed"
            self.deleted = self.deleted or self.state == "deleted"

    @precondition(lambda self: self.state == "failed")
    @rule()
    def a_failed_photo_can_be_retried(self) -> None:
        assert self.state in rules.origins_of("retry")
        assert rules.target_of("retry") == "queued"

    @invariant()
    def deleted_is_for_ever(self) -> None:
        assert not self.deleted or self.state == "deleted"

    @invariant()
    def completed_is_never_processed_again_unasked(self) -> None:
        assert not self.completed or self.state in {"completed", "deleted"}

    @invariant()
    def what_is_visible_can_be_deleted(self) -> None:
        assert self.state == "deleted" or self.state in rules.origins_of("delete")


TestLifecycle = Lifecycle.TestCase


def test_the_states_are_those_of_the_specification() -> None:
    moves = {(origin, rules.target_of(step)) for step in get_args(rules.Step) for origin in rules.origins_of(step)}
    assert moves == {
        ("queued", "processing"),
        ("processing", "processing"),
        ("processing", "queued"),
        ("processing", "completed"),
        ("processing", "failed"),
        ("failed", "queued"),
        ("queued", "queued"),
        ("completed", "queued"),
        ("queued", "deleted"),
        ("processing", "deleted"),
        ("completed", "deleted"),
        ("failed", "deleted"),
    }


@given(st.floats(min_value=-1e6, max_value=1e9))
def test_the_wait_for_the_engine_lies_between_a_second_and_a_minute(age: float) -> None:
    assert 1 <= rules.engine_wait(timedelta(seconds=age)) <= 60


# --- names


@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_a_upid_is_kept_as_it_is(upid: str) -> None:
    assert rules.read_upid(upid) == upid


@given(st.text(max_size=80))
def test_whatever_is_read_as_a_upid_is_one_segment_of_a_key(text: str) -> None:
    try:
        upid = rules.read_upid(text)
    except InvalidUpid:
        return
    assert rules.object_key(upid, ID, "small").split("/") == ["photos", upid, str(ID), "small.jpg"]
    assert upid not in {".", ".."}


@pytest.mark.parametrize("upid", [None, "", "   ", "../etc", "a/b", "UP 1", "é", "x" * 65, "UP-1\n\n.", "UP%2F1", "a.b"])
def test_what_is_no_upid_is_refused(upid: str | None) -> None:
    with pytest.raises(InvalidUpid) as caught:
        rules.read_upid(upid)
    assert caught.value.fields.keys() == {"field", "limit", "remedy"}


@given(st.none() | st.text(max_size=600))
def test_a_cleaned_filename_is_short_printable_and_no_path(name: str | None) -> None:
    cleaned = rules.clean_filename(name)
    assert 1 <= len(cleaned) <= 255
    assert not set(cleaned) & set("/\\\x00\n\r\x7f\u202e")
    assert cleaned not in {".", ".."}


def test_a_filename_keeps_its_end_and_its_accents() -> None:
    assert rules.clean_filename(r"C:\fotos\Diseño final.jpg") == "Diseño final.jpg"
    assert rules.clean_filename("x" * 300 + ".jpg").endswith(".jpg")
    assert rules.clean_filename("../..") == "photo"


# --- kinds of file


@pytest.mark.parametrize(
    ("head", "extension"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "jpg"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "png"),
        (b"GIF89a\x01\x00", "gif"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "webp"),
        (b"II*\x00\x08\x00\x00\x00", "tif"),
        (b"MM\x00*\x00\x00\x00\x08", "tif"),
        (b"BM\x36\x00\x00\x00", "bmp"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "heic"),
        (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf", "avif"),
    ],
)
def test_a_kind_is_told_by_the_first_bytes(head: bytes, extension: str) -> None:
    kind = rules.kind_of_file(head)
    assert kind is not None
    assert kind[1] == extension


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"%PDF-1.7",
        b"<svg xmlns=",
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
        b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00mp42",
        b"PK\x03\x04",
    ],
)
def test_what_is_no_photo_has_no_kind(head: bytes) -> None:
    assert rules.kind_of_file(head) is None


@given(st.binary(max_size=64))
def test_any_bytes_are_judged_without_an_error(head: bytes) -> None:
    kind = rules.kind_of_file(head)
    assert kind is None or kind[0].startswith("image/")


# --- fields


def test_a_stage_is_one_of_three() -> None:
    assert rules.read_stage("antes") == "antes"
    assert rules.read_stage(" Durante ") == "durante"
    assert rules.read_stage("") is None
    with pytest.raises(InvalidField) as caught:
        rules.read_stage("después")
    assert caught.value.fields == {
        "field": "stage",
        "limit": "antes, durante, despues",
        "remedy": "send one of them, or leave stage out",
    }


def test_a_description_is_trimmed_and_limited() -> None:
    assert rules.read_description("  muro norte \x00 ") == "muro norte"
    assert rules.read_description("   ") is None
    assert rules.read_description("x" * 2000) == "x" * 2000
    with pytest.raises(InvalidField, match="2001 characters"):
        rules.read_description("x" * 2001)


def test_a_moment_without_an_offset_is_of_the_zone() -> None:
    assert rules.read_moment("2026-05-31T14:30:00", field="taken_at", zone=BOGOTA) == datetime(2026, 5, 31, 19, 30, tzinfo=UTC)
    assert rules.read_moment("2026-05-31T14:30:00+02:00", field="taken_at", zone=BOGOTA) == datetime(
        2026, 5, 31, 12, 30, tzinfo=UTC
    )
    assert rules.read_moment(" 2026-05-31 ", field="taken_at", zone=UTC) == datetime(2026, 5, 31, tzinfo=UTC)
    assert rules.read_moment(None, field="taken_at", zone=UTC) is None


@pytest.mark.parametrize("text", ["yesterday", "31/05/2026", "2026-13-01", "0001-01-01T00:00:00+14:00", "1700-01-01", "9" * 40])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        rules.read_moment(text, field="taken_at", zone=UTC)
    assert caught.value.fields["field"] == "taken_at"


def test_a_date_alone_means_the_whole_day() -> None:
    assert rules.read_bound("2026-05-31", field="from", zone=UTC) == datetime(2026, 5, 31, tzinfo=UTC)
    assert rules.read_bound("2026-05-31", field="to", zone=UTC) == datetime(2026, 6, 1, tzinfo=UTC)
    assert rules.read_bound("2026-05-31T10:00:00Z", field="to", zone=UTC) == datetime(2026, 5, 31, 10, tzinfo=UTC)
    assert rules.read_bound("9999-12-31", field="to", zone=UTC) == datetime(9999, 12, 31, tzinfo=UTC)


@given(st.text(max_size=40), st.sampled_from(("from", "to")))
def test_any_text_is_a_bound_or_refused(text: str, field: str) -> None:
    try:
        moment = rules.read_bound(text, field="to" if field == "to" else "from", zone=BOGOTA)
    except InvalidField:
        return
    assert moment is None or moment.tzinfo is UTC


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_a_location_is_read_in_both_forms(latitude: float, longitude: float) -> None:
    for text in (f"{latitude!r}, {longitude!r}", json.dumps({"latitude": latitude, "longitude": longitude})):
        place = rules.read_location(text)
        assert place is not None
        assert (place.latitude, place.longitude) == (latitude, longitude)


@pytest.mark.parametrize(
    "text",
    [
        "3.45",
        "3.45,-76.5,12",
        "north,west",
        "91,0",
        "0,181",
        "nan,0",
        "inf,0",
        '{"latitude": 3.45}',
        '{"latitude": "3", "longitude": "4"}',
        '{"latitude": 1' + "0" * 400 + ', "longitude": 1}',
        "{}",
        "{broken",
        '{"a":' * 3000,
    ],
)
def test_what_is_no_location_is_refused(text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        rules.read_location(text)
    assert caught.value.fields["field"] == "location"


@given(st.text(max_size=60))
def test_any_text_is_a_location_or_refused(text: str) -> None:
    try:
        place = rules.read_location(text)
    except InvalidField:
        return
    assert place is None or -90 <= place.latitude <= 90
