from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect

from trenza.chassis.http.uploads import ReceivedFile, ReceivedForm, receive_form

BOUNDARY = b"----trenza7MA4YWxk"
CONTENT_TYPE = "multipart/form-data; boundary=----trenza7MA4YWxk"
LIMIT = 5000


def part(name: str, content: bytes, filename: str | None = None, *headers: str) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    head = "\r\n".join([disposition, *headers]).encode()
    return b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def request_that_breaks_off(chunks: list[bytes], *, whole: bool = False) -> Request:
    """A request whose client leaves after these chunks, of which the last one ends the body where it is ``whole``."""
    last = len(chunks) - 1 if whole else -1
    messages = iter([{"type": "http.request", "body": chunk, "more_body": n != last} for n, chunk in enumerate(chunks)])

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    return Request({"type": "http", "headers": [(b"content-type", CONTENT_TYPE.encode())]}, receive)


def left_in(folder: Path) -> int:
    """How many files are there."""
    return sum(1 for _ in folder.iterdir())


async def read(request: Request, folder: Path, **limits: Any) -> ReceivedForm:
    allowed = {"max_file_bytes": LIMIT, "max_files": 3, "max_field_bytes": 100, "max_fields": 4, **limits}
    return await receive_form(request, spool=lambda: folder / uuid4().hex, **allowed)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """The folder into which uploads are written."""
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


@pytest.fixture
def upload_app(app: FastAPI, spool: Path) -> FastAPI:
    """An application that takes uploads and says what it received."""

    def told(file: ReceivedFile) -> dict[str, Any]:
        return {
            "field": file.field,
            "filename": file.filename,
            "type": file.declared_type,
            "size": file.size,
            "sha256": file.sha256,
            "head": file.head.hex(),
            "stored": file.path.read_bytes().hex() if file.path.exists() else None,
            "error": file.error and file.error.code,
        }

    @app.post("/upload")
    async def upload(request: Request) -> dict[str, Any]:
        async with await read(request, spool) as received:
            return {"fields": received.fields, "files": [told(file) for file in received.files]}

    return app


async def post(client: httpx.AsyncClient, body: bytes, content_type: str = CONTENT_TYPE) -> httpx.Response:
    return await client.post("/upload", content=body, headers={"Content-Type": content_type})


@pytest.mark.usefixtures("upload_app")
async def test_fields_and_files_arrive_whole(client: httpx.AsyncClient, spool: Path) -> None:
    photo = bytes(range(256)) * 10
    answer = await client.post(
        "/upload", data={"upid": "UP-1", "note": "años"}, files=[("file", ("a b.jpg", photo, "image/jpeg"))]
    )
    body = answer.json()
    assert body["fields"] == {"upid": "UP-1", "note": "años"}
    (file,) = body["files"]
    assert (file["field"], file["filename"], file["type"], file["size"]) == ("file", "a b.jpg", "image/jpeg", 2560)
    assert file["sha256"] == hashlib.sha256(photo).hexdigest()
    assert file["head"] == photo[:64].hex()
    assert file["stored"] == photo.hex()
    assert left_in(spool) == 0, "what the route did not move away is removed"


@pytest.mark.usefixtures("upload_app")
async def test_a_file_over_the_limit_spoils_no_other(client: httpx.AsyncClient, spool: Path) -> None:
    files = [("file", ("1", b"a" * LIMIT)), ("file", ("2", b"b" * (LIMIT + 1))), ("file", ("3", b""))]
    first, second, third = (await client.post("/upload", files=files)).json()["files"]
    assert (first["size"], first["error"]) == (LIMIT, None)
    assert (second["size"], second["error"], second["stored"], second["sha256"]) == (LIMIT + 1, "FILE_TOO_LARGE", None, "")
    assert (third["size"], third["error"], third["stored"]) == (0, None, "")
    assert left_in(spool) == 0


async def test_a_file_over_the_limit_is_removed_while_it_still_arrives(spool: Path) -> None:
    size = 3 * 1024 * 1024
    big_part = part("file", b"x" * size, "big")
    chunks = [
        *(big_part[start : start + 900_000] for start in range(0, len(big_part), 900_000)),
        form(part("file", b"small", "small")),
    ]
    seen: list[int] = []

    async def receive() -> Any:
        seen.append(left_in(spool))
        return {"type": "http.request", "body": chunks[len(seen) - 1], "more_body": len(seen) < len(chunks)}

    request = Request({"type": "http", "headers": [(b"content-type", CONTENT_TYPE.encode())]}, receive)
    async with await read(request, spool, max_file_bytes=2 * 1024 * 1024) as received:
        big, small = received.files
        assert (big.error is not None, big.size, small.error) == (True, size, None)
        assert small.path.read_bytes() == b"small"
    assert (seen[0], *seen[2:]) == (0, 1, 0, 0), "written while the next chunk came, then removed before the upload had ended"


@pytest.mark.usefixtures("upload_app")
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (form(*[part("file", b"x", "x")] * 4), 413, "TOO_MANY_FILES"),
        (form(*[part(f"f{n}", b"x") for n in range(5)]), 413, "TOO_MANY_FIELDS"),
        (form(part("f", b"x" * 101)), 413, "FIELD_TOO_LARGE"),
        (form(part("f", b"1"), part("f", b"2")), 400, "MALFORMED_MULTIPART"),
        (form(part("f", b"\xff\xfe")), 400, "MALFORMED_MULTIPART"),
        (form(part("", b"x")), 400, "MALFORMED_MULTIPART"),
        (form(part("n" * 201, b"x")), 400, "MALFORMED_MULTIPART"),
        (form(part("f", b"x", "x", "Content-Transfer-Encoding: base64")), 400, "MALFORMED_MULTIPART"),
        (
            form(b"--" + BOUNDARY + b"\r\nContent-Disposition: form-data; name=f; filename*=UTF-8''x.jpg\r\n\r\nx\r\n"),
            400,
            "MALFORMED_MULTIPART",
        ),
        (form(part("f", b"x", "x", *[f"X-{n}: y" for n in range(30)])), 400, "MALFORMED_MULTIPART"),
        (form(part("f", b"x", "x", "X-Long: " + "y" * 9000)), 400, "MALFORMED_MULTIPART"),
        (form(b"--" + BOUNDARY + b"\r\nContent-Type: text/plain\r\n\r\nx\r\n"), 400, "MALFORMED_MULTIPART"),
        (form(b"--" + BOUNDARY + b"\r\n\r\nx\r\n"), 400, "MALFORMED_MULTIPART"),
        (form(b"--" + BOUNDARY + b"\r\nBad Header\x00: x\r\n\r\nx\r\n"), 400, "MALFORMED_MULTIPART"),
        (b"no boundary at all", 400, "MALFORMED_MULTIPART"),
        (b"", 400, "MALFORMED_MULTIPART"),
        (part("file", b"x" * 900, "x"), 400, "MALFORMED_MULTIPART"),
        (part("file", b"x" * 900, "x")[:-500], 400, "MALFORMED_MULTIPART"),
        (part("file", b"x" * 900, "x") + b"--" + BOUNDARY, 400, "MALFORMED_MULTIPART"),
    ],
)
async def test_a_form_over_a_limit_or_damaged_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient, spool: Path, body: bytes, status: int, code: str
) -> None:
    answer = await post(client, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "python" not in answer.text
    assert left_in(spool) == 0


@pytest.mark.usefixtures("upload_app")
@pytest.mark.parametrize(
    ("body", "limit"),
    [
        (form(*[part("file", b"x", "x")] * 4), 3),
        (form(*[part(f"f{n}", b"x") for n in range(5)]), 4),
        (form(part("f", b"x" * 101)), 100),
        (form(part("f", b"1"), part("f", b"2")), 1),
        (form(part("n" * 201, b"x")), "1..200"),
        (form(part("f", b"x", "x", *[f"X-{n}: y" for n in range(30)])), 16),
        (form(part("f", b"x", "x", "X-Long: " + "y" * 9000)), 8192),
        (form(part("f", b"x", "x", "y" * 9000 + ": X-Long")), 8192),
        (b"x" * 8193 + b"\r\n" + form(part("f", b"x")), 8192),
    ],
)
async def test_a_broken_limit_is_told(client: httpx.AsyncClient, body: bytes, limit: int | str) -> None:
    problem = (await post(client, body)).json()
    assert problem["limit"] == limit
    assert problem["remedy"]


PREAMBLES = [b"\r\n", b"\n", b"This is a message in many parts.\r\n", b"--" + BOUNDARY[:-1] + b"\r\n", b"x" * 5000 + b"\r\n"]


@pytest.mark.parametrize("preamble", PREAMBLES)
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_a_preamble_is_passed_over(spool: Path, preamble: bytes, size: int) -> None:
    body = preamble + form(part("upid", b"UP-1"), part("file", b"\r\n--x", "x"))
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    async with await read(request_that_breaks_off(chunks, whole=True), spool) as received:
        assert received.fields == {"upid": "UP-1"}
        assert [file.path.read_bytes() for file in received.files] == [b"\r\n--x"]


@pytest.mark.usefixtures("upload_app")
@pytest.mark.parametrize("before", [b"x", b"x\n", b"x\r"])
async def test_a_boundary_begins_a_line(client: httpx.AsyncClient, before: bytes) -> None:
    assert (await post(client, before + form(part("upid", b"1")))).json()["code"] == "MALFORMED_MULTIPART"


@pytest.mark.usefixtures("upload_app")
@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", b"x" * 101])
async def test_a_file_that_says_no_file_name_is_told_to(client: httpx.AsyncClient, content: bytes) -> None:
    assert 'filename="…"' in (await post(client, form(part("file", content)))).text.replace('\\"', '"')


@pytest.mark.usefixtures("upload_app")
async def test_a_form_in_another_or_no_form_is_refused(client: httpx.AsyncClient) -> None:
    for content_type in (
        "application/json",
        "",
        "multipart/form-data",
        "multipart/mixed; boundary=x",
        f"{CONTENT_TYPE}{'x' * 70}",
    ):
        answer = await post(client, b"{}", content_type)
        assert (answer.status_code, answer.json()["code"]) == (415, "MULTIPART_EXPECTED"), content_type


@pytest.mark.usefixtures("upload_app")
async def test_far_too_much_is_refused_by_its_length_and_by_its_bytes(client: httpx.AsyncClient, spool: Path) -> None:
    too_much = form(*[part("file", b"x" * 200_000, "x")] * 3)

    async def unannounced() -> AsyncIterator[bytes]:
        for start in range(0, len(too_much), 10_000):
            yield too_much[start : start + 10_000]

    for content in (too_much, unannounced()):
        answer = await client.post("/upload", content=content, headers={"Content-Type": CONTENT_TYPE, "Accept-Language": "es"})
        assert answer.status_code == 413
        problem = answer.json()
        assert (problem["code"], problem["files"], problem["limit"]) == ("UPLOAD_TOO_LARGE", 3, LIMIT)
        assert problem["detail"] == "Envíe como máximo 3 archivos de un máximo de 5000 bytes cada uno."
        assert answer.headers["connection"] == "close"
    assert left_in(spool) == 0


@pytest.mark.usefixtures("upload_app")
async def test_a_file_input_without_a_choice_is_no_file(client: httpx.AsyncClient) -> None:
    answer = await post(client, form(part("upid", b"1"), part("file", b"", "", "Content-Type: application/octet-stream")))
    assert answer.json() == {"fields": {"upid": "1"}, "files": []}


@pytest.mark.usefixtures("upload_app")
async def test_a_declared_type_is_a_type_or_nothing(client: httpx.AsyncClient) -> None:
    headers = ["Content-Type: IMAGE/JPEG; a=b", "Content-Type: <script>", "X-No: type"]
    answer = await post(client, form(*(part("file", b"x", "x", header) for header in headers)))
    assert [file["type"] for file in answer.json()["files"]] == ["image/jpeg", *["application/octet-stream"] * 2]


async def test_a_client_that_leaves_in_the_middle_leaves_no_files(spool: Path) -> None:
    chunks = [part("file", b"first", "1") + part("file", b"x" * 1_500_000, "2")[:-9], b"more"]
    with pytest.raises(ClientDisconnect):
        await read(request_that_breaks_off(chunks), spool, max_file_bytes=2_000_000)
    assert left_in(spool) == 0


async def test_a_request_that_is_cancelled_leaves_no_files(spool: Path) -> None:
    waiting = asyncio.Event()
    file = part("file", b"x" * 1_500_000, "1")
    chunks = iter([file[:700_000], file[700_000:]])  # the first is written before the writing of the second begins

    async def receive() -> Any:
        chunk = next(chunks, None)
        if chunk is None:
            waiting.set()
            await asyncio.Event().wait()
        return {"type": "http.request", "body": chunk, "more_body": True}

    request = Request({"type": "http", "headers": [(b"content-type", CONTENT_TYPE.encode())]}, receive)
    task = asyncio.create_task(read(request, spool, max_file_bytes=2_000_000))
    await waiting.wait()
    assert left_in(spool) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left_in(spool) == 0


async def test_a_disk_that_does_not_take_it_is_a_fault_of_ours(app: FastAPI, client: httpx.AsyncClient, tmp_path: Path) -> None:
    @app.post("/upload")
    async def upload(request: Request) -> None:
        await read(request, tmp_path / "missing")

    answer = await post(client, form(part("file", b"x", "x")))
    assert (answer.status_code, answer.json()["code"]) == (503, "BLOBS_UNAVAILABLE")
    assert str(tmp_path) not in answer.text


async def test_a_client_that_drips_is_given_up(app: FastAPI, client: httpx.AsyncClient, spool: Path) -> None:
    @app.post("/upload")
    async def upload(request: Request) -> None:
        await read(request, spool, min_bytes_per_second=100_000, grace_seconds=0.1)

    async def dripping() -> AsyncIterator[bytes]:
        yield part("file", b"", "x")[:-2]
        while True:
            await asyncio.sleep(0.01)
            yield b"x"

    answer = await client.post("/upload", content=dripping(), headers={"Content-Type": CONTENT_TYPE})
    assert (answer.status_code, answer.json()["code"]) == (408, "UPLOAD_TOO_SLOW")
    assert left_in(spool) == 0

    async def silent() -> AsyncIterator[bytes]:
        yield part("file", b"", "x")[:-2]
        await asyncio.Event().wait()

    answer = await client.post("/upload", content=silent(), headers={"Content-Type": CONTENT_TYPE})
    assert answer.status_code == 408


async def test_the_time_that_a_fast_client_pauses_is_not_held_against_it(
    app: FastAPI, client: httpx.AsyncClient, spool: Path
) -> None:
    @app.post("/upload")
    async def upload(request: Request) -> int:
        async with await read(
            request, spool, max_file_bytes=1_000_000, min_bytes_per_second=1_000_000, grace_seconds=0.05
        ) as got:
            return got.files[0].size

    async def bursts() -> AsyncIterator[bytes]:
        body = form(part("file", b"x" * 500_000, "x"))
        yield body[:400_000]
        await asyncio.sleep(0.15)  # beyond the grace, but 400 kB buy 0.4 s
        yield body[400_000:]

    answer = await client.post("/upload", content=bursts(), headers={"Content-Type": CONTENT_TYPE})
    assert answer.json() == 500_000
