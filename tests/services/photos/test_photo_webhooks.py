"""Webhooks: signed, repeated until they are taken, in order, and never to an address that is not public."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from trenza.services.images.contract import InvalidImageFormat
from trenza.services.photos.webhooks.addresses import AddressForbidden, Allowed, HostUnknown, is_public, reachable_address

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform, Start

PHOTO = b"\xff\xd8\xff\xe0 a wall"
SECRET = "w" * 32


@dataclass
class Receiver:
    """A server of somebody else's: keeps what it is told, and answers as it is told to (200 by default)."""

    port: int = 0
    answers: list[str] = field(default_factory=list)
    told: asyncio.Queue[tuple[str, dict[str, str], bytes]] = field(default_factory=asyncio.Queue)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?x=1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        answer = self.answers.pop(0) if self.answers else "200 OK"
        writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        self.told.put_nowait((request, headers, body))

    async def next(self) -> tuple[str, dict[str, str], dict[str, Any]]:
        """What comes next, its signature verified."""
        async with asyncio.timeout(30):
            request, headers, body = await self.told.get()
        expected = hmac.digest(SECRET.encode(), headers["x-trenza-timestamp"].encode() + b"." + body, hashlib.sha256).hex()
        assert headers["x-trenza-signature"] == f"sha256={expected}"
        return request, headers, json.loads(body)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    while True:
        receiver.port = random.randint(20000, 30000)  # noqa: S311 - any free one will do
        try:
            server = await asyncio.start_server(receiver.serve, "127.0.0.1", receiver.port)
            break
        except OSError:
            continue
    async with server:
        yield receiver


@pytest.fixture
async def hooked(monkeypatch: pytest.MonkeyPatch, start: Start) -> AsyncIterator[Platform]:
    """A platform that may reach this machine."""
    monkeypatch.setenv("TRENZA_PHOTOS_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("TRENZA_PHOTOS_WEBHOOK_ALLOW", "elsewhere.internal, 127.0.0.0/8, ::1/128")
    async with start() as platform:
        yield platform


async def test_the_course_of_a_photo_is_told(hooked: Platform, receiver: Receiver) -> None:
    photo = await hooked.stored(callback_url=receiver.url)
    assert "callback_url" not in photo
    request, headers, told = await receiver.next()
    assert request == "POST /hooks?x=1 HTTP/1.1"
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert headers["x-trenza-event"] == told["type"] == "photos.PhotoCompleted"
    assert headers["x-trenza-event-id"] == told["id"]
    assert (told["photo_id"], told["upid"], told["status"], told["error"]) == (photo["id"], "UP-1", "completed", None)
    assert list(told["versions"]) == ["thumbnail", "small", "medium", "large"]
    assert (await hooked.http.get(told["versions"]["small"]["url"])).status_code == 200
    await hooked.ask("DELETE", f"/api/photos/{photo['id']}")
    _, _, told = await receiver.next()
    assert (told["type"], told["status"], told["versions"]) == ("photos.PhotoDeleted", "deleted", {})


async def test_a_failure_is_told(hooked: Platform, receiver: Receiver) -> None:
    hooked.engine.refusals.append(InvalidImageFormat("cut short"))
    await hooked.upload(PHOTO, callback_url=receiver.url)
    _, _, told = await receiver.next()
    assert (told["type"], told["error"]) == ("photos.PhotoFailed", {"code": "INVALID_IMAGE_FORMAT", "detail": "cut short"})


async def test_it_is_told_again_until_it_is_taken(hooked: Platform, receiver: Receiver) -> None:
    receiver.answers += ["302 Found\r\nLocation: /elsewhere"]
    await hooked.upload(PHOTO, callback_url=receiver.url)
    first, second = await receiver.next(), await receiver.next()
    assert second[0] == first[0] == "POST /hooks?x=1 HTTP/1.1"  # the redirect was not followed
    assert second[2]["id"] == first[2]["id"]


async def test_what_is_not_public_is_never_reached(platform: Platform, receiver: Receiver) -> None:
    await platform.stored(callback_url=receiver.url)
    [task] = [task for task in (await platform.tasks.list()).tasks if task.type == "photos.CallBack"]
    ended = await platform.tasks.wait(task.id, timeout=20)
    assert ended is not None
    assert (ended.state, ended.attempts) == ("failed", 1)
    assert ended.error is not None
    assert "not public" in ended.error
    assert receiver.told.empty()


async def test_a_direct_upload_and_the_function_url_take_it_too(hooked: Platform, receiver: Receiver) -> None:
    body = {"upid": "UP-1", "image_base64": "/9j/4CBhIHdhbGw=", "callback_url": receiver.url}
    answer = await hooked.ask("POST", "/", json=body)
    assert answer.status_code == 201
    assert (await receiver.next())[2]["photo_id"] == answer.json()["photo_id"]
    record = await hooked.photos.get_photo(photo_id=UUID(answer.json()["photo_id"]))
    assert record.callback_url == receiver.url


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - an address to refuse, not to listen on
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_only_the_internet_is_public(address: str, *, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "::1", "0"])
async def test_every_way_to_write_this_machine_is_seen(host: str) -> None:
    with pytest.raises((AddressForbidden, HostUnknown)):
        await reachable_address(host, 80, Allowed())


async def test_what_the_operator_lists_is_reached() -> None:
    assert await reachable_address("localhost", 80, Allowed.of(("LOCALHOST",))) in {"127.0.0.1", "::1"}
    assert await reachable_address("127.0.0.1", 80, Allowed.of(("127.0.0.0/8",))) == "127.0.0.1"
    with pytest.raises(AddressForbidden):
        await reachable_address("127.0.0.1", 80, Allowed.of(("10.0.0.0/8", "127.0.0.1.example")))
    with pytest.raises(ValueError, match="neither a host name nor a network"):
        Allowed.of(("10.0.0.0/33",))


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org/", "http://", "https://ana:pw@example.org/", "//example.org/x", "http://[x", "http://a b/", "x" * 2001],
)
async def test_what_is_no_url_is_refused_at_once(platform: Platform, url: str) -> None:
    answer = await platform.upload(PHOTO, callback_url=url)
    assert (answer.status_code, answer.json()["field"]) == (422, "callback_url")
