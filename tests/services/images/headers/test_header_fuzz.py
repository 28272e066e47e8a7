"""Whatever the bytes: a header or a declared refusal, and bounded reading."""

from __future__ import annotations

import os
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trenza.chassis.testing.hostile_pictures import tiff_of
from trenza.chassis.testing.picture_structures import structures_of
from trenza.chassis.testing.pictures import animation, encoded, marked, phone_photo
from trenza.services.images.headers import Header, HeaderError, read_header
from trenza.services.images.headers.reading import Budget, Scan, Span, drive, take

_PICTURE = marked(64, 48)
_HONEST = [
    phone_photo(64, 48, location=(3.45, -76.53)),
    *(encoded(_PICTURE, name) for name in ("PNG", "WebP", "TIFF", "BMP", "GIF", "AVIF")),
    animation(64, 48, "WebP"),
    (Path(__file__).parents[3] / "media" / "phone.heic").read_bytes(),
    tiff_of({256: 64, 257: 48}, big=True),
]
_MAGICS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF1234WEBPVP8X",
    b"II*\0",
    b"MM\0+\0\x08\0\0",
    b"GIF89a",
    b"\0\0\0\x10ftypavif",
    b"BM",
]


def check(data: bytes) -> None:
    budget = Budget()
    try:
        header = read_header(lambda start, length: data[start : start + length], budget)
    except HeaderError as refusal:
        assert str(refusal)  # noqa: PT017 - either outcome is right, this one needs its reason
    else:
        assert isinstance(header, Header)
        assert header.width >= 0
        assert header.height >= 0
    assert budget.spent_reads <= budget.reads + 1
    assert budget.spent_bytes <= budget.bytes + 1024 * 1024  # the last span asked for counts, though it was not read


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=4000))
def test_random_bytes(data: bytes) -> None:
    check(data)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(_MAGICS), st.binary(max_size=4000))
def test_random_bytes_after_an_honest_beginning(magic: bytes, data: bytes) -> None:
    check(magic + data)


@settings(max_examples=800, deadline=None)
@given(
    st.sampled_from(_HONEST),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=8),
    st.integers(0, 3000),
)
def test_mutated_and_truncated_headers(data: bytes, changes: list[tuple[int, int]], length: int) -> None:
    mutated = bytearray(data)
    for position, value in changes:
        mutated[position % len(mutated)] = value
    check(bytes(mutated))
    check(bytes(mutated[:length]))


_STRUCTURES = [structures_of(data) for data in _HONEST]
_LIES = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1]
"""What lengths, counts and offsets are made to say."""


@st.composite
def _lying_files(draw: st.DrawFn) -> bytes:
    """A sound file in which lengths, counts and offsets lie, and structures are left out, repeated or moved."""
    which = draw(st.integers(0, len(_HONEST) - 1))
    places = (0, *_STRUCTURES[which], len(_HONEST[which]))
    parts = [bytearray(_HONEST[which][start:end]) for start, end in pairwise(places)]
    for _ in range(draw(st.integers(1, 4))):
        index = draw(st.integers(0, len(parts) - 1))
        match draw(st.sampled_from(["lie", "lie", "lie", "nudge", "leave out", "repeat", "move"])):
            case "lie":
                width, order = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from(["big", "little"]))
                at = draw(st.integers(0, min(len(parts[index]), 64)))
                parts[index][at : at + width] = (draw(st.sampled_from(_LIES)) % 256**width).to_bytes(width, order)
            case "nudge" if parts[index]:
                at = draw(st.integers(0, min(len(parts[index]) - 1, 64)))
                parts[index][at] = (parts[index][at] + draw(st.sampled_from([-1, 1, 16]))) % 256
            case "leave out":
                parts[index] = bytearray()
            case "repeat":
                parts[index] *= draw(st.sampled_from([2, 3, 200]))
            case _:
                parts.insert(draw(st.integers(0, len(parts))), parts[index][:])
    data = b"".join(parts)
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "800")), deadline=None)
@given(_lying_files())
def test_files_whose_structures_lie(data: bytes) -> None:
    check(data)


@pytest.mark.parametrize("which", range(len(_HONEST)))
def test_no_lie_makes_a_parser_allocate_what_it_promises(which: int) -> None:
    data = _HONEST[which]
    tracemalloc.start()
    try:
        for at in _STRUCTURES[which]:
            for width in (2, 4, 8):
                for lie in (b"\xff" * width, b"\x7f" + b"\xff" * (width - 1), b"\xff" * (width - 1) + b"\x7f"):
                    check(data[:at] + lie + data[at + width :])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(data) + 1024 * 1024


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xe0" + b"\xff\xe0\x00\x02" * 500_000,
        b"\xff\xd8" + b"\xff" * 50_000_000,
        b"\xff\xd8\xff\xe0\x00\x02" + b"\xff\x00" * 3_000_000,
        b"\0\0\0\x10ftypavif" + bytes(4) + b"\0\0\0\x08free" * 500_000,
        b"\0\0\0\x10ftypavif" + bytes(4) + b"\0\x0f\xff\xf8meta" + bytes(4) + b"\0\0\0\x08free" * 131_000,
        tiff_of({256: 64, **dict.fromkeys(range(258, 4354), 2**30)}),
    ],
    ids=["tiny segments", "fill bytes", "stuffed bytes", "tiny boxes", "tiny boxes in a box", "a directory of 4097 entries"],
)
@pytest.mark.timeout(20)  # in less than linear time they take milliseconds, in quadratic time hours
def test_files_made_to_cost_work_cost_little(data: bytes) -> None:
    check(data)


def test_a_read_too_many_is_refused_whoever_asks() -> None:
    def endless() -> Scan[Header]:
        while True:
            yield from take(0, 1)

    spent = Budget(reads=10)
    with pytest.raises(HeaderError, match="more parts"):
        drive(endless(), lambda _start, _length: b"x", spent)
    assert spent.spent_reads == 11
    with pytest.raises(HeaderError, match="beyond its end"):
        Budget().spend(Span(1 << 63, 1))
