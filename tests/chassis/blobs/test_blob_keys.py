"""Keys against whatever somebody may send: what is accepted stays below the folder and comes back unchanged."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trenza.chassis.blobs import InvalidBlobKey
from trenza.chassis.blobs.keys import MAX_KEY_BYTES, check_key
from trenza.chassis.blobs.media_types import media_type_of

HOSTILE = st.lists(
    st.sampled_from(
        [
            "..",
            ".",
            "",
            "/",
            "//",
            "\\",
            "..\\",
            "%2e%2e",
            "~",
            "a",
            "C:",
            "\x00",
            "\n",
            "etc",
            "passwd",
            "\u202e",
            "\uff0e\uff0e",
        ]
    )
    | st.text(max_size=8),
    max_size=12,
).map("/".join)


@given(HOSTILE | st.text(max_size=40))
def test_an_accepted_key_stays_below_its_folder(key: str) -> None:
    try:
        check_key(key)
    except InvalidBlobKey:
        return
    root = PurePosixPath("/data/blobs")
    path = Path(root / key)
    assert path.is_relative_to(root)
    assert ".." not in path.parts
    assert path.relative_to(root).as_posix() == key  # nothing is dropped, so that no two keys name one file
    assert Path(path).resolve() == path  # nothing to resolve either (the folder does not exist here)
    assert key.isprintable()
    assert len(key.encode()) <= MAX_KEY_BYTES


SEGMENT = st.text(st.characters(categories=("L", "N"), include_characters="-_.~ +=@()'!"), min_size=1, max_size=60).filter(
    lambda segment: segment not in (".", "..")
)


@given(st.lists(SEGMENT, min_size=1, max_size=4).map("/".join))
def test_sensible_keys_are_accepted(key: str) -> None:
    assert check_key(key) == key


def test_the_limits_are_the_limits() -> None:
    assert check_key("/".join(["a" * 255] * 4)) != ""
    assert len("/".join(["a" * 255] * 4)) == 1023
    with pytest.raises(InvalidBlobKey, match="1024 bytes"):
        check_key("/".join(["a" * 255] * 4) + "/a")
    with pytest.raises(InvalidBlobKey, match="255 bytes"):
        check_key("a" * 256)
    with pytest.raises(InvalidBlobKey) as refused:
        check_key("a//b")
    assert refused.value.status == 422
    assert refused.value.fields["field"] == "key"
    assert refused.value.fields["remedy"]


@pytest.mark.parametrize(
    ("key", "media_type"),
    [
        ("photos/UP-1/a.jpg", "image/jpeg"),
        ("a.JPEG", "image/jpeg"),
        ("a.webp", "image/webp"),
        ("a.avif", "image/avif"),
        ("a.heic", "image/heic"),
        ("a.pdf", "application/pdf"),
        ("folder.png/name", "application/octet-stream"),
        ("a.csv.gz", "application/gzip"),
        ("a.tar.xz", "application/octet-stream"),
        ("data:text/html,x.png", "image/png"),
        ("http://x/y.png", "image/png"),
        ("noextension", "application/octet-stream"),
    ],
)
def test_media_types_come_from_the_extension(key: str, media_type: str) -> None:
    assert media_type_of(key) == media_type
