"""Which of several media types a client would rather have."""

from __future__ import annotations

import pytest

from trenza.chassis.http.negotiation import preferred_type

JPEG, WEBP, AVIF = "image/jpeg", "image/webp", "image/avif"


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        (None, JPEG),
        ("", JPEG),
        ("*/*", JPEG),
        ("image/*", JPEG),
        ("image/jpeg", JPEG),
        ("image/webp", WEBP),
        ("image/webp,*/*", WEBP),
        ("image/avif,image/webp,image/apng,*/*;q=0.8", AVIF),
        ("image/avif;q=0.5, image/webp;q=0.9, image/jpeg;q=0.1", WEBP),
        ("image/jpeg;q=1, image/webp;q=0.9", JPEG),
        ("image/webp;q=0.5", WEBP),
        ("image/webp;q=0.5, image/*;q=0.6", JPEG),
        ("image/webp;q=0", JPEG),
        ("image/webp;q=much", JPEG),
        ("IMAGE/WEBP ; Q=0.7", WEBP),
        ("text/html", JPEG),
        ("image/jpeg;q=0, image/avif", AVIF),
        ("image/webp;q=nan", JPEG),
    ],
)
def test_what_is_asked_for_by_name_is_given(accept: str | None, given: str) -> None:
    assert preferred_type(accept, usual=JPEG, on_request=(AVIF, WEBP)) == given
