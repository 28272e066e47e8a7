"""What operators ask of each real broker: whether it lets us in and what helps if not, and to keep events for those to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aio_pika
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity

from trenza.chassis.messages import open_broker
from trenza.chassis.messages.transports.base import BrokerTransport, TransportUnavailable
from trenza.chassis.messages.transports.opening import BrokerUrl
from trenza.chassis.testing.certificates import Certificate
from trenza.chassis.testing.server_process import free_port

if TYPE_CHECKING:
    from tests.conformance.conftest import Wires

    from trenza.chassis.testing.brokers import Broker
    from trenza.chassis.testing.brokers.rabbitmq import RabbitMQ

BAKED = frozenset({"bakery.Baked"})
rabbitmq = pytest.mark.parametrize(
    "broker", [pytest.param("rabbitmq", marks=pytest.mark.xdist_group("rabbitmq"))], indirect=True, scope="session"
)
tansu = pytest.mark.parametrize("broker", [pytest.param("tansu", marks=pytest.mark.xdist_group("tansu"))], indirect=True)
ministack = pytest.mark.parametrize(
    "broker", [pytest.param("ministack", marks=pytest.mark.xdist_group("ministack"))], indirect=True
)


@asynccontextmanager
async def asked(url: str) -> AsyncIterator[BrokerTransport]:
    """The broker of a URL, as a command asks it."""
    broker = open_broker(url)
    try:
        yield broker
    finally:
        await broker.close()


async def refusal(url: str) -> str:
    """Why a broker does not let us in."""
    async with asked(url) as broker, asyncio.timeout(12):
        with pytest.raises(TransportUnavailable) as refused:
            await broker.reach()
    return str(refused.value)


async def test_a_service_that_has_never_run_gets_what_was_published_since_it_was_declared(
    wires: Wires, inbox_of: Any, message: Any
) -> None:
    inbox, sender = inbox_of(), wires.connect()
    async with asked(wires.url) as broker:
        await broker.declare("shop", BAKED)
        await broker.declare("shop", BAKED)  # which changes nothing
    await sender.publish([message(number) for number in range(20)])
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    assert await inbox.holds(20) == list(range(20))


async def test_a_broker_is_reached_and_one_that_is_away_is_told_of_with_what_helps(broker: Broker, wires: Wires) -> None:
    async with asked(wires.url) as there:
        await there.reach()
    await asyncio.to_thread(broker.stop)
    try:
        said = await refusal(wires.url)
        async with asked(wires.url) as away, asyncio.timeout(12):
            with pytest.raises(TransportUnavailable):
                await away.declare("shop", BAKED)
    finally:
        await asyncio.to_thread(broker.start)
    remedies = (
        "; start it, or ",
        "; let the network through to it (proxy, firewall, VPC endpoint), or correct the region",
    )
    assert any(remedy in said for remedy in remedies), said


@rabbitmq
async def test_to_be_reached_changes_nothing_on_rabbitmq(wires: Wires) -> None:
    async with asked(wires.url) as broker:
        await broker.reach()
    read = BrokerUrl.read(wires.url)
    async with await aio_pika.connect(read.text) as connection:
        channel = await connection.channel()
        with pytest.raises(ChannelNotFoundEntity):
            await channel.get_exchange(f"{read.prefix}.events")


@ministack
async def test_to_be_reached_changes_nothing_on_aws(wires: Wires) -> None:
    async with asked(wires.url) as broker:
        await broker.reach()
    said = await refusal(f"{wires.url}&create=false")
    assert "missing on AWS, and create=false: the event bus" in said
    assert said.endswith("; make it, or leave create=false out of TRENZA_TRANSPORT_URL")
    async with asked(f"{wires.url}&create=false") as broker:
        with pytest.raises(TransportUnavailable, match="missing on AWS, and create=false: the event bus"):
            await broker.declare("shop", BAKED)


@rabbitmq
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace("guest:guest", "guest:hunter2"), "refuses the user or the password .* `rabbitmqctl add_user`"),
        (lambda url: url.replace("/%2F", "/nowhere"), "does not open the virtual host .* `rabbitmqctl add_vhost`"),
        (
            lambda url: url.replace("amqp:", "amqps:"),
            "no TLS in common .*; in TRENZA_TRANSPORT_URL, amqps:// is for its TLS port",
        ),
        (lambda url: url.replace("127.0.0.1", "no-such-host.invalid"), "has no address .*; correct the host"),
    ],
)
async def test_what_keeps_us_out_of_rabbitmq_is_told_with_what_helps(
    wires: Wires, change: Callable[[str], str], said: str
) -> None:
    async with asked(change(wires.url)) as broker:
        with pytest.raises(TransportUnavailable, match=rf"^RabbitMQ at .*{said}") as told:
            await broker.reach()
    assert "hunter2" not in repr(told.value)


@rabbitmq
async def test_rights_that_rabbitmq_does_not_give_are_told_with_the_command_that_does(broker: RabbitMQ, wires: Wires) -> None:
    await asyncio.to_thread(broker.control, "add_user", "ana", "ana")
    await asyncio.to_thread(broker.control, "set_permissions", "ana", "^$", ".*", ".*")
    async with asked(wires.url.replace("guest:guest", "ana:ana")) as asking:
        with pytest.raises(TransportUnavailable, match=r"refuses us a right .*'ana'.*; let the user .* `rabbitmqctl set_perm"):
            await asking.declare("shop", BAKED)


@rabbitmq
async def test_a_queue_of_somebody_else_by_our_name_is_told(wires: Wires) -> None:
    read = BrokerUrl.read(wires.url)
    async with await aio_pika.connect(read.text) as connection:
        await (await connection.channel()).declare_queue(f"{read.prefix}.shop", durable=True)
    async with asked(wires.url) as broker:
        with pytest.raises(TransportUnavailable, match=r"by one of our names .*shop.*; remove that, or choose another prefix=…"):
            await broker.declare("shop", BAKED)


@tansu
async def test_who_kafka_does_not_let_in_is_told_what_to_correct(wires: Wires) -> None:
    """Tansu has no users, and refuses whoever names one."""
    said = await refusal(
        f"{wires.url}&security.protocol=sasl_plaintext&sasl.mechanism=PLAIN&sasl.username=ana&sasl.password=hunter2"
    )
    assert said.startswith(f"Kafka at {urlsplit(wires.url).netloc} refuses who we are")
    assert "correct sasl.mechanism, sasl.username and sasl.password" in said
    assert "hunter2" not in said


@pytest.fixture
async def strange(tmp_path: Path) -> AsyncIterator[tuple[int, Certificate]]:
    """A server that shows the certificate of another host: its port, and the certificate."""
    certificate = Certificate.of("elsewhere", tmp_path)

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=certificate.server_context())
    yield server.sockets[0].getsockname()[1], certificate
    server.close()


async def test_a_certificate_that_is_not_believed_is_told_with_the_option_that_helps(strange: tuple[int, Certificate]) -> None:
    port, certificate = strange
    said = await refusal(f"amqps://u:p@127.0.0.1:{port}")
    assert f"RabbitMQ at 127.0.0.1:{port} shows a certificate that is not believed (self-signed certificate)" in said
    assert "name its authority with cafile=…" in said
    said = await refusal(f"amqps://u:p@127.0.0.1:{port}?cafile={certificate.file}")
    assert "IP address mismatch" in said
    said = await refusal(f"kafka://127.0.0.1:{port}?security.protocol=ssl")
    assert f"Kafka at 127.0.0.1:{port} shows a certificate that is not believed" in said
    assert "name its authority with ssl.ca.location=…" in said


async def test_a_port_of_tls_that_is_asked_without_it_is_told(strange: tuple[int, Certificate]) -> None:
    said = await refusal(f"amqp://u:p@127.0.0.1:{strange[0]}")
    assert "closes the connection; start it, or see what its log says" in said
    assert "amqps:// if that takes TLS" in said


@pytest.mark.parametrize(("scheme", "name"), [("amqp://u:p@", "RabbitMQ"), ("kafka://", "Kafka")])
async def test_a_connection_that_is_refused_is_told_with_what_helps(scheme: str, name: str) -> None:
    port = free_port()
    said = await refusal(f"{scheme}127.0.0.1:{port}")
    assert said.startswith(f"{name} at 127.0.0.1:{port} refuses the connection")
    assert "; start it, or correct" in said
    assert said.count("TRENZA_TRANSPORT_URL") == 1


async def test_without_credentials_aws_is_not_asked_and_it_is_told_how_to_give_some(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    said = await refusal("sqs://eu-west-1")
    assert said.endswith("; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role")
