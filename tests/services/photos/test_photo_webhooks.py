"""Webhooks: signed, repeated until they are taken, in order, and never to an address that is not public."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import random
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from trenza.services.images.contract import InvalidImageFormat
from trenza.services.photos.messages import CallBack
from trenza.services.photos.webhooks.addresses import AddressForbidden, Allowed, HostUnknown, is_public, reachable_addresses
from trenza.services.photos.webhooks.receivers import ReceiverBusy, Receivers, ReceiverUnreachable, WebhookFailed
from trenza.services.photos.webhooks.sending import post

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform, Start

    from trenza.chassis.data import Database
    from trenza.chassis.testing.clock import ManualClock

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


async def test_a_receiver_that_fails_is_a_line_of_the_log_and_no_fault(hooked: Platform, receiver: Receiver) -> None:
    receiver.answers += ["500 Internal Server Error"]
    with capture_logs() as logged:
        await hooked.upload(PHOTO, callback_url=receiver.url)
        await receiver.next(), await receiver.next()
    (line,) = [line for line in logged if line["event"] == "attempt failed"]
    assert "127.0.0.1 answered 500" in line["reason"]
    assert "exc_info" not in line


async def call_back_task(platform: Platform) -> Any:
    """The task that tells, once it has ended."""
    [task] = [task for task in (await platform.tasks.list()).tasks if task.type == "photos.CallBack"]
    ended = await platform.tasks.wait(task.id, timeout=30)
    assert ended is not None
    return ended


async def test_a_receiver_that_asks_for_time_gets_it_without_losing_an_attempt(hooked: Platform, receiver: Receiver) -> None:
    receiver.answers += ["503 Service Unavailable\r\nRetry-After: 1", "429 Too Many Requests\r\nRetry-After: 1"]
    await hooked.stored(callback_url=receiver.url)
    first, second, third = [await receiver.next() for _ in range(3)]
    assert first[2]["id"] == second[2]["id"] == third[2]["id"]
    ended = await call_back_task(hooked)
    assert (ended.state, ended.attempts) == ("completed", 1)


async def test_a_receiver_that_is_gone_is_not_asked_again(hooked: Platform, receiver: Receiver) -> None:
    receiver.answers.append("410 Gone")
    await hooked.stored(callback_url=receiver.url)
    ended = await call_back_task(hooked)
    assert (ended.state, ended.attempts) == ("failed", 1)
    assert "answered 410" in (ended.error or "")


async def test_nobody_is_waited_for_without_end(hooked: Platform, receiver: Receiver) -> None:
    receiver.answers.append("503 Service Unavailable\r\nRetry-After: 1")
    long_ago = datetime.now(UTC) - timedelta(days=4)
    photo_id = UUID("01930000-0000-7000-8000-000000000000")
    order = CallBack(photo_id=photo_id, upid="UP-1", url=receiver.url, event="x", status="deleted", occurred_at=long_ago)
    database: Database = hooked.app.state.assembly.databases["photos"]
    async with database.work() as work:
        await work.enqueue(order)
    ended = await call_back_task(hooked)
    assert (ended.state, ended.attempts) == ("failed", 1)
    assert "long enough" in (ended.error or "")


def fail(receivers: Receivers, host: str, error: type[Exception] = ReceiverUnreachable) -> None:
    with pytest.raises(error), receivers.attempt(host):
        raise error("no answer")


def test_a_host_without_answers_is_left_alone_until_it_is_back(clock: ManualClock) -> None:
    receivers = Receivers(clock)
    for _ in range(4):
        fail(receivers, "away")
    fail(receivers, "away", WebhookFailed)  # an answer at last, if not the wanted one
    for _ in range(5):
        fail(receivers, "away")
    with pytest.raises(ReceiverBusy, match="5 times in a row") as busy, receivers.attempt("away"):
        pytest.fail("it was let through")
    assert 60 <= busy.value.seconds <= 90
    with receivers.attempt("elsewhere"):
        pass
    clock.advance(61)
    with receivers.attempt("away"), pytest.raises(ReceiverBusy), receivers.attempt("away"):
        pytest.fail("one at a time")
    fail(receivers, "away")
    with pytest.raises(ReceiverBusy), receivers.attempt("away"):
        pytest.fail("it was let through")
    clock.advance(61)
    for _ in range(2):
        with receivers.attempt("away"):
            pass
    for _ in range(4):  # all is as before
        fail(receivers, "away")
    with receivers.attempt("away"):
        pass


async def test_another_address_of_the_host_is_tried(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async def two(_host: str, port: int, **_options: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.1.2.3", "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
    url = f"http://hooks.example:{receiver.port}/x"
    await post(url, b"{}", {"X-Trenza-Timestamp": "1"}, allowed=Allowed.of(("127.0.0.0/8",)), authorities=None)
    request, headers, body = await receiver.told.get()
    assert (request, headers["host"], body) == ("POST /x HTTP/1.1", f"hooks.example:{receiver.port}", b"{}")


async def test_certificates_of_ones_own_authority_are_believed_when_it_is_named(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority, context = certificates_for("localhost", tmp_path)
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/hooks"
    allowed = Allowed.of(("localhost",))
    async with server:
        with pytest.raises(ReceiverUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await post(url, b"{}", {}, allowed=allowed, authorities=None)
        with pytest.raises(ReceiverUnreachable, match="CERTIFICATE_VERIFY_FAILED"):  # the name counts as well
            await post(
                url.replace("localhost", "127.0.0.1"), b"{}", {}, allowed=Allowed.of(("127.0.0.1",)), authorities=authority
            )
        monkeypatch.setenv("TRENZA_PHOTOS_WEBHOOK_SECRET", SECRET)
        monkeypatch.setenv("TRENZA_PHOTOS_WEBHOOK_ALLOW", "localhost")
        monkeypatch.setenv("TRENZA_PHOTOS_WEBHOOK_CA_FILE", str(authority))
        async with start() as platform:
            photo = await platform.stored(callback_url=url)
            assert (await receiver.next())[2]["photo_id"] == photo["id"]


def certificates_for(host: str, folder: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority's certificate as a file, and what a server needs to show one that it has issued."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("Our own authority", host)]
    now = datetime.now(UTC)

    def issued(subject: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(names[subject])
            .issuer_name(names[0])
            .public_key(keys[subject].public_key())
            .serial_number(subject + 1)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    root = issued(0).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(keys[0], SHA256())
    leaf = issued(1).add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False).sign(keys[0], SHA256())
    authority, shown = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(root.public_bytes(Encoding.PEM))
    key = keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shown.write_bytes(leaf.public_bytes(Encoding.PEM) + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown)
    return authority, context


async def test_what_is_not_public_is_never_reached(platform: Platform, receiver: Receiver) -> None:
    await platform.stored(callback_url=receiver.url.replace("127.0.0.1", "localhost"))  # an address is refused at once
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
        await reachable_addresses(host, 80, Allowed())


@pytest.mark.parametrize("host", ["a..b", "a" * 300 + ".com", "xn--a"])
async def test_what_cannot_be_a_host_is_not_tried_again(host: str) -> None:
    with pytest.raises(AddressForbidden):
        await post(f"http://{host}/", b"{}", {}, allowed=Allowed(), authorities=None)


async def test_what_the_operator_lists_is_reached() -> None:
    assert set(await reachable_addresses("localhost", 80, Allowed.of(("LOCALHOST",)))) <= {"127.0.0.1", "::1"}
    assert await reachable_addresses("127.0.0.1", 80, Allowed.of(("127.0.0.0/8",))) == ("127.0.0.1",)
    with pytest.raises(AddressForbidden):
        await reachable_addresses("127.0.0.1", 80, Allowed.of(("10.0.0.0/8", "127.0.0.1.example")))
    with pytest.raises(ValueError, match="neither a host name nor a network"):
        Allowed.of(("10.0.0.0/33",))


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org/", "http://", "https://ana:pw@example.org/", "//example.org/x", "http://[x", "http://a b/", "x" * 2001],
)
async def test_what_is_no_url_is_refused_at_once(platform: Platform, url: str) -> None:
    answer = await platform.upload(PHOTO, callback_url=url)
    assert (answer.status_code, answer.json()["field"]) == (422, "callback_url")


INTERNAL = [
    "http://127.0.0.1/", "http://10.0.0.1:8080/x", "https://[::1]/", "http://169.254.169.254/latest", "http://2130706433/",
    "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://[::ffff:10.0.0.1]/", "http://0/", "http://[fe80::1%25eth0]/",
]  # fmt: skip


@pytest.mark.parametrize("url", INTERNAL)
async def test_an_internal_address_is_refused_with_the_upload(platform: Platform, url: str) -> None:
    inline = {"upid": "UP-1", "image_base64": "/9j/4CBhIHdhbGw=", "callback_url": url}
    for answer in (
        await platform.upload(PHOTO, callback_url=url),
        await platform.ask("POST", "/", json=inline),
        await platform.ask("POST", "/api/photos/uploads", json={"upid": "UP-1", "bytes": 100, "callback_url": url}),
    ):
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["field"]) == (422, "CALLBACK_FORBIDDEN", "callback_url")
    assert (await platform.ask("GET", "/api/photos")).json()["items"] == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/", "http://0x7f000001/", "http://[::1]/", "http://8.8.8.8/", "http://localhost/"]
)
async def test_what_may_be_told_is_taken(hooked: Platform, url: str) -> None:
    assert (await hooked.upload(PHOTO, callback_url=url)).status_code == 202
