"""What is special to the transport over AWS: its queues, what is made there, and what refused entries do to order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import orjson
import pytest
from aiohttp import ClientSession, web

from trenza.chassis.messages.transports import aws_queues
from trenza.chassis.messages.transports.aws_clients import Clients
from trenza.chassis.messages.transports.base import TransportUnavailable

if TYPE_CHECKING:
    from tests.conformance.conftest import Wires

    from trenza.chassis.testing.brokers import Broker

BAKED = frozenset({"bakery.Baked"})
REGION = "us-east-1"

pytestmark = pytest.mark.parametrize(
    "broker", [pytest.param("ministack", marks=pytest.mark.xdist_group("ministack"))], indirect=True
)


@pytest.fixture
async def clients(broker: Broker) -> AsyncIterator[Clients]:
    """As a foreign program, or an operator, talks to AWS."""
    del broker  # its environment names the endpoint
    async with AsyncExitStack() as stack:
        yield await Clients.opened(REGION, stack)


@pytest.fixture
def prefix(wires: Wires) -> str:
    return wires.url.rpartition("=")[2]


async def queue(clients: Clients, name: str) -> str:
    return (await clients.sqs.get_queue_url(QueueName=name))["QueueUrl"]


async def attributes(clients: Clients, name: str) -> dict[str, str]:
    url = await queue(clients, name)
    answer = await clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return {str(name): value for name, value in answer["Attributes"].items()}


async def test_a_receiver_that_fails_holds_up_its_key_and_no_other(wires: Wires, inbox_of: Any, message: Any) -> None:
    """Nothing of the key overtakes what has to come again, over two processes and several batches."""
    inbox, sender, failures = inbox_of(), wires.connect(), 4

    async def fail(numbers: list[int]) -> None:
        nonlocal failures
        if 0 in numbers and failures:
            failures -= 1
            raise ConnectionError("the database is away")

    inbox.before = fail
    for _ in range(2):
        await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await sender.publish([message(number, key=f"key-{number % 3}") for number in range(90)])
    await inbox.holds(90)
    assert failures == 0
    for key in range(3):
        assert inbox.numbers(f"key-{key}") == [number for number in range(90) if number % 3 == key]


async def test_messages_without_a_key_come_again_when_the_receiver_fails(wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, sender, failures = inbox_of(), wires.connect(), 2

    async def fail(_: list[int]) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ConnectionError("the database is away")

    inbox.before = fail
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    await sender.publish([message(number, key=None) for number in range(25)])
    assert sorted(await inbox.holds(25)) == list(range(25))


async def test_what_is_stored_is_deleted(wires: Wires, clients: Clients, prefix: str, inbox_of: Any, message: Any) -> None:
    inbox, transport = inbox_of(), wires.connect()
    await transport.subscribe("shop", BAKED, inbox.receive)
    await transport.publish([message(number, key="a" if number % 2 else None) for number in range(40)])
    await inbox.holds(40)
    await transport.unsubscribe("shop")
    for name in (f"{prefix}-shop", f"{prefix}-shop.fifo"):
        left = await attributes(clients, name)
        assert [left["ApproximateNumberOfMessages"], left["ApproximateNumberOfMessagesNotVisible"]] == ["0", "0"]


async def test_a_call_that_sqs_still_holds_keeps_nothing_from_the_next_process(wires: Wires, inbox_of: Any, message: Any) -> None:
    """SQS gives the call messages even though the service has left: they are given back, and not after a time-out only."""
    before, after, first, second = inbox_of(), inbox_of(), wires.connect(), wires.connect()
    await first.subscribe("shop", BAKED, before.receive)
    for _ in range(3):
        await first.ping()  # SQS holds the call by then
    await first.unsubscribe("shop")
    await second.subscribe("shop", BAKED, after.receive)
    async with asyncio.timeout(10):
        for number in range(5):
            await second.publish([message(number), message(number, key=None)])
            await after.until(lambda number=number: after.numbers().count(number) == 2)
    assert before.numbers() == []


async def test_a_receiver_may_take_longer_than_sqs_waits(
    wires: Wires, inbox_of: Any, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_queues, "_HELD_SECONDS", 2)
    monkeypatch.setattr(aws_queues, "_EXTEND_SECONDS", 0.5)
    slow, other, go_on = inbox_of(), inbox_of(), asyncio.Event()
    begun = asyncio.Event()

    async def wait(_: list[int]) -> None:
        begun.set()
        await go_on.wait()

    slow.before = wait
    first, sender = wires.connect(), wires.connect()
    await first.subscribe("shop", BAKED, slow.receive)
    await sender.publish([message(1)])
    await asyncio.wait_for(begun.wait(), 60)
    await wires.connect().subscribe("shop", BAKED, other.receive)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(other.changed.wait(), 4)
    go_on.set()
    await first.unsubscribe("shop")
    await sender.publish([message(2)])
    assert await other.holds(1) == [2]
    assert slow.numbers() == [1]


async def test_what_a_foreign_program_sends_arrives_as_it_is(
    wires: Wires, clients: Clients, prefix: str, inbox_of: Any, message: Any
) -> None:
    inbox, transport, sqs = inbox_of(), wires.connect(), clients.sqs
    await transport.subscribe("shop", BAKED, inbox.receive)
    await sqs.send_message(QueueUrl=await queue(clients, f"{prefix}-shop"), MessageBody="¿qué? {")
    ordered = await queue(clients, f"{prefix}-shop.fifo")
    await sqs.send_message(QueueUrl=ordered, MessageBody="<qué>", MessageGroupId="x", MessageDeduplicationId="x")
    await transport.publish([message(1)])
    await inbox.until(lambda: len(inbox.strange) >= 2 and inbox.numbers() == [1])
    assert set(inbox.strange) == {"¿qué? {", "<qué>"}


async def test_another_prefix_sees_nothing(broker: Broker, wires: Wires, inbox_of: Any, message: Any, prefix: str) -> None:
    ours, theirs = inbox_of(), inbox_of()
    other = wires.connect(broker.url(f"{prefix}-2"))
    await wires.connect().subscribe("shop", BAKED, ours.receive)
    await other.subscribe("shop", BAKED, theirs.receive)
    for key in ("a", None):
        await wires.connect().publish([message(1, key=key)])
    await ours.until(lambda: len(ours.bodies) == 2)
    await other.publish([message(3)])
    assert await theirs.holds(1) == [3]


async def test_letters_that_sqs_refuses_arrive(wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, transport = inbox_of(), wires.connect()
    await transport.subscribe("shop", BAKED, inbox.receive)
    await transport.publish([message(1, key="a\uffff\ufffe"), message(2, key=None)])
    await inbox.holds(2)
    assert [body["orderingkey"] for body in inbox.bodies if "orderingkey" in body] == ["a\uffff\ufffe"]


async def test_only_our_bus_and_topic_may_fill_the_queues(wires: Wires, clients: Clients, prefix: str, inbox_of: Any) -> None:
    await wires.connect().subscribe("shop", BAKED, inbox_of().receive)
    topic = f"arn:aws:sns:{REGION}:000000000000:{prefix}-events.fifo"
    rules = f"arn:aws:events:{REGION}:000000000000:rule/{prefix}/*"
    for name, sender, source in (("", "events", rules), (".fifo", "sns", topic)):
        for dead in ("", "-dead"):
            found = await attributes(clients, f"{prefix}-shop{dead}{name}")
            (statement,) = orjson.loads(found["Policy"])["Statement"]
            assert statement["Principal"] == {"Service": f"{sender}.amazonaws.com"}
            assert statement["Condition"] == {"ArnLike": {"aws:SourceArn": source}}
        redrive = orjson.loads((await attributes(clients, f"{prefix}-shop{name}"))["RedrivePolicy"])
        assert redrive["deadLetterTargetArn"].endswith(f":{prefix}-shop-dead{name}")
        assert redrive["maxReceiveCount"] == 1000


async def test_an_old_release_takes_no_type_away(wires: Wires, inbox_of: Any, message: Any) -> None:
    """It connects anew while the new one is rolled out; both have the queues of one service."""
    old, new, inbox = wires.connect(), wires.connect(), inbox_of()
    await old.subscribe("shop", BAKED, inbox.receive)
    await new.subscribe("shop", BAKED | {"shop.Sold"}, inbox.receive)
    await old.unsubscribe("shop")
    await old.subscribe("shop", BAKED, inbox.receive)
    for key in ("a", None):
        await wires.connect().publish([message(1, key=key, type_="shop.Sold"), message(2, key=key)])
    assert sorted(await inbox.holds(4)) == [1, 1, 2, 2]


async def test_what_exists_already_is_made_once(wires: Wires, clients: Clients, prefix: str, inbox_of: Any) -> None:
    many = frozenset(f"bakery.Baked{number:03}" for number in range(140))  # more than one rule holds
    await asyncio.gather(*(wires.connect().subscribe("shop", many, inbox_of().receive) for _ in range(3)))
    await wires.connect().subscribe("shop", many, inbox_of().receive)
    rules = (await clients.events.list_rules(EventBusName=prefix))["Rules"]
    types = [type_ for rule in rules for type_ in orjson.loads(rule["EventPattern"])["detail-type"]]
    assert sorted(types) == sorted(many)
    assert max(len(rule["EventPattern"]) for rule in rules) <= 2048
    assert len(rules) == 2


async def test_what_is_missing_is_named_where_nothing_may_be_made(wires: Wires, inbox_of: Any, message: Any) -> None:
    inbox, strict = inbox_of(), wires.connect(f"{wires.url}&create=false")
    with pytest.raises(TransportUnavailable, match="event bus"):
        await strict.publish([message(1)])
    await wires.connect().ping()  # bus and topic
    await strict.ping()
    await strict.subscribe("shop", BAKED, inbox.receive)
    with pytest.raises(TransportUnavailable) as raised:
        await strict.ping()
    for name in ("shop", "shop.fifo", "shop-dead", "shop-dead.fifo"):
        assert f"-{name}," in str(raised.value)
    assert "rules" in str(raised.value)
    assert "subscription" in str(raised.value)
    maker = wires.connect()
    await maker.subscribe("shop", BAKED, inbox.receive)
    await maker.unsubscribe("shop")
    await strict.ping()
    await strict.publish([message(2)])
    assert await inbox.holds(1) == [2]
    await strict.subscribe("shop", BAKED | {"shop.Sold"}, inbox.receive)
    with pytest.raises(TransportUnavailable, match=r"shop\.Sold"):
        await strict.ping()


class Faulty:
    """Stands between a transport and AWS, and refuses entries of its calls one by one, as AWS does when it sheds load."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.refuse: set[int] = set()
        """Numbers of messages; each is refused for as long as it stands here."""
        self.calls: list[list[int]] = []
        """The numbers in each call of PublishBatch."""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        refused: list[str] = []
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True)) if b"Action=PublishBatch&" in body else {}
        if fields:
            body, refused = self._without_refused(fields)
        if not body:
            return self._answer("", refused)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in {"host", "content-length"}}
        async with (
            ClientSession() as session,
            session.request(request.method, self._upstream + request.path_qs, data=body, headers=headers) as answer,
        ):
            text = await answer.text()
            if refused:
                taken = text.partition("<Successful>")[2].partition("</Successful>")[0]
                return self._answer(taken, refused)
            kept = {name: value for name, value in answer.headers.items() if name.lower().startswith(("x-amz", "content-type"))}
            return web.Response(status=answer.status, text=text, headers=kept)

    def _without_refused(self, fields: dict[str, str]) -> tuple[bytes, list[str]]:
        entry = "PublishBatchRequestEntries.member."
        kept = {name: value for name, value in fields.items() if not name.startswith(entry)}
        refused: list[str] = []
        numbers: list[int] = []
        count = 0
        for position in range(1, 11):
            mark = f"{entry}{position}."
            own = {name.removeprefix(mark): value for name, value in fields.items() if name.startswith(mark)}
            if not own:
                break
            number = orjson.loads(own["Message"])["data"]["number"]
            numbers.append(number)
            if number in self.refuse:
                refused.append(own["Id"])
                continue
            count += 1
            kept |= {f"{entry}{count}.{name}": value for name, value in own.items()}
        self.calls.append(numbers)
        return urlencode(kept).encode() if count else b"", refused

    @staticmethod
    def _answer(taken: str, refused: Sequence[str]) -> web.Response:
        failed = "".join(
            f"<member><Id>{id_}</Id><Code>InternalError</Code><SenderFault>false</SenderFault></member>" for id_ in refused
        )
        result = f"<Successful>{taken}</Successful><Failed>{failed}</Failed>"
        text = f"<PublishBatchResponse><PublishBatchResult>{result}</PublishBatchResult></PublishBatchResponse>"
        return web.Response(text=text, content_type="text/xml")


@pytest.fixture
async def faulty(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Faulty]:
    """A proxy that every transport of the test goes through."""
    host, port = broker.address
    proxy = Faulty(f"http://{host}:{port}")
    runner = web.ServerRunner(web.Server(proxy.handle, handler_cancellation=True))  # or a long poll would hold up its end
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{runner.addresses[0][1]}")
    yield proxy
    await runner.cleanup()


async def test_an_entry_that_is_refused_leaves_no_gap_in_its_key(
    faulty: Faulty, wires: Wires, inbox_of: Any, message: Any
) -> None:
    inbox, sender = inbox_of(), wires.connect()
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    batch = [message(number, key=f"key-{number % 4}") for number in range(40)]
    faulty.refuse = {13}
    with pytest.raises(TransportUnavailable, match="InternalError"):
        await sender.publish(batch)
    await inbox.until(lambda: {12, 14, 15} <= set(inbox.numbers()))
    assert [number for number in inbox.numbers("key-1") if number > 9] == []
    faulty.refuse = set()
    tried = {number for call in faulty.calls for number in call}
    await sender.publish(batch)
    repeated = [number for call in faulty.calls for number in call if number in tried - {13}]
    assert len(repeated) == len(tried) - 1  # what AWS has taken is not published again
    await inbox.holds(40)
    for key in range(4):
        assert inbox.numbers(f"key-{key}") == list(range(key, 40, 4))
    assert all(len({number % 4 for number in call}) == len(call) for call in faulty.calls)  # no two of a key in one call


async def test_an_entry_that_is_refused_for_a_moment_is_tried_again(
    faulty: Faulty, wires: Wires, inbox_of: Any, message: Any
) -> None:
    inbox, sender = inbox_of(), wires.connect()
    await wires.connect().subscribe("shop", BAKED, inbox.receive)
    faulty.refuse = {1}
    publishing = asyncio.create_task(sender.publish([message(0, key="a"), message(1, key="b"), message(2, key="b")]))
    await inbox.holds(1)
    faulty.refuse = set()
    await publishing
    assert sorted(await inbox.holds(3)) == [0, 1, 2]
    assert inbox.numbers("b") == [1, 2]


async def test_a_dead_endpoint_is_told_of_within_ten_seconds(
    wires: Wires, monkeypatch: pytest.MonkeyPatch, inbox_of: Any, message: Any
) -> None:
    """One that takes connections and never answers, which is worse than one that refuses them."""
    silent = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
    transport = wires.connect()
    await asyncio.wait_for(transport.subscribe("shop", BAKED, inbox_of().receive), 10)
    for attempt in (transport.ping(), transport.publish([message(1)])):
        async with asyncio.timeout(10):
            with pytest.raises(TransportUnavailable, match="no answer in time"):
                await attempt
    await asyncio.wait_for(transport.unsubscribe("shop"), 5)
    await asyncio.wait_for(transport.close(), 5)
    silent.close()
