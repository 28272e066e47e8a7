from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st

from trenza.chassis.http.multipart import safe_filename
from trenza.chassis.http.uploads import receive_form

BOUNDARY = b"----trenza7MA4YWxk"
CONTENT_TYPE = "multipart/form-data; boundary=----trenza7MA4YWxk"


def part(name: str, content: bytes, filename: str | None = None, *headers: str) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    head = "\r\n".join([disposition, *headers]).encode()
    return b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def request_of(chunks: list[bytes], content_type: str = CONTENT_TYPE) -> Request:
    """A request that brings these chunks and whose client then leaves."""
    last = len(chunks) - 1
    messages = iter([{"type": "http.request", "body": chunk, "more_body": n < last} for n, chunk in enumerate(chunks)])

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    headers = [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}, receive)


NEARLY_BOUNDARIES = st.sampled_from(
    [b"", b"\r", b"\r\n", b"\r\n-", b"\r\n--", b"\r\n--" + BOUNDARY[:-1], b"--" + BOUNDARY, b"\r\n--" + BOUNDARY[:5] + b"\r\n--"]
)
CONTENTS = st.lists(st.one_of(st.binary(max_size=60), NEARLY_BOUNDARIES), max_size=6).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(
    contents=st.lists(CONTENTS.filter(lambda content: b"\r\n--" + BOUNDARY not in b"\r\n" + content), max_size=3),
    field=st.text(max_size=20),
    cuts=st.lists(st.integers(0, 1500), max_size=12),
)
async def test_however_a_form_is_cut_into_chunks_the_same_arrives(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], field: str, cuts: list[int]
) -> None:
    body = form(part("field", field.encode()), *(part("file", content, f"{n}.bin") for n, content in enumerate(contents)))
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    chunks = [body[start:end] for start, end in pairwise(edges)]
    folder = tmp_path_factory.getbasetemp()
    async with await receive_form(
        request_of(chunks), spool=lambda: folder / uuid4().hex, max_file_bytes=5000, max_files=3
    ) as received:
        assert received.fields == {"field": field}
        assert [file.path.read_bytes() for file in received.files] == contents
        for file, content in zip(received.files, contents, strict=True):
            assert (file.size, file.head, file.sha256) == (len(content), content[:64], hashlib.sha256(content).hexdigest())


@settings(max_examples=200, deadline=None)
@given(name=st.text(max_size=400))
def test_a_file_name_is_always_safe(name: str) -> None:
    safe = safe_filename(name)
    assert 1 <= len(safe) <= 255
    assert not set(safe) & set("/\\\0\r\n\u202e")
    assert safe not in {".", ".."}
    assert safe_filename(safe) == safe


@pytest.mark.parametrize(
    ("declared", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ana\\obra 1.jpg", "obra 1.jpg"),
        ("..", "file"),
        (".htaccess", "htaccess"),
        ("a\u202egpj.exe", "agpj.exe"),
        ("x" * 300 + ".jpeg", "x" * 250 + ".jpeg"),
        ("a%22b.jpg", 'a"b.jpg'),
        ("a\x00b%0D%0A.jpg", "ab.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
    ],
)
def test_file_names_keep_what_can_be_kept(declared: str, safe: str) -> None:
    assert safe_filename(declared) == safe
