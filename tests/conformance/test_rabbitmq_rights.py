"""The rights that SECURITY.md gives to the accounts of services on RabbitMQ: enough to work, and not enough for more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused

from trenza.chassis.messages.transports.base import TransportUnavailable
from trenza.chassis.messages.transports.opening import BrokerUrl
from trenza.chassis.messages.transports.rabbitmq import RabbitTransport

if TYPE_CHECKING:
    from tests.conformance.conftest import Wires

    from trenza.chassis.testing.brokers.rabbitmq import RabbitMQ

pytestmark = pytest.mark.parametrize(
    "broker", [pytest.param("rabbitmq", marks=pytest.mark.xdist_group("rabbitmq"))], indirect=True, scope="session"
)
BAKED = frozenset({"bakery.Baked"})
Action = Callable[[AbstractChannel], Awaitable[object]]
Services = tuple[RabbitTransport, RabbitTransport, Any]


class Accounts:
    """A virtual host with an account for each service, and one for a program that only publishes."""

    def __init__(self, broker: RabbitMQ, vhost: str) -> None:
        self._broker = broker
        self.vhost = vhost

    async def create(self) -> None:
        await self._control("add_vhost", self.vhost)
        await self._control("set_permissions", "-p", self.vhost, "guest", ".*", ".*", ".*")
        for service, hears in (("bakery", ""), ("shop", "bakery")):
            names = rf"^trenza\.({service}|events|events\.dead)$"
            await self._account(service, (names, names, names), rf"^{service}\.", rf"^({hears})\." if hears else "^$")
        await self._account("crm", ("^$", r"^trenza\.events$", "^$"), r"^crm\.", "^$")

    async def _account(self, name: str, rights: tuple[str, str, str], says: str, hears: str) -> None:
        user = f"{self.vhost}-{name}"
        await self._control("add_user", user, "pw")
        await self._control("set_permissions", "-p", self.vhost, user, *rights)
        await self._control("set_topic_permissions", "-p", self.vhost, user, "trenza.events", says, hears)

    async def _control(self, *arguments: str) -> None:
        await asyncio.to_thread(self._broker.control, *arguments)

    def url(self, name: str) -> str:
        """With the account of a service, or of the operator."""
        host, port = self._broker.address
        user = "guest:guest" if name == "operator" else f"{self.vhost}-{name}:pw"
        return f"amqp://{user}@{host}:{port}/{self.vhost}"

    async def attempt(self, name: str, action: Action) -> bool:
        """Whether an account may do this."""
        async with await aio_pika.connect(self.url(name)) as connection:
            channel = await connection.channel()
            try:
                await action(channel)
            except ChannelAccessRefused:
                return False
            return True


@pytest.fixture
async def accounts(broker: RabbitMQ, wires: Wires) -> Accounts:
    accounts = Accounts(broker, BrokerUrl.read(wires.url).prefix)
    await accounts.create()
    return accounts


@pytest.fixture
async def services(accounts: Accounts, inbox_of: Any) -> AsyncIterator[Services]:
    """A bakery that publishes, a shop that hears it, and the shop's inbox."""
    bakery, shop = (RabbitTransport(BrokerUrl.read(accounts.url(name))) for name in ("bakery", "shop"))
    inbox = inbox_of()
    await bakery.subscribe("bakery", frozenset(), inbox_of().receive)
    await shop.subscribe("shop", BAKED, inbox.receive)
    yield bakery, shop, inbox
    await bakery.close()
    await shop.close()


def publishes(key: str, *, exchange: str = "trenza.events", body: bytes = b"{}") -> Action:
    async def action(channel: AbstractChannel) -> None:
        target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        await target.publish(aio_pika.Message(body), key)

    return action


def reads(queue: str) -> Action:
    async def action(channel: AbstractChannel) -> None:
        await (await channel.get_queue(queue, ensure=False)).get(fail=False)

    return action


def binds(queue: str, key: str) -> Action:
    async def action(channel: AbstractChannel) -> None:
        await (await channel.get_queue(queue, ensure=False)).bind("trenza.events", key)

    return action


async def forwards_everything(channel: AbstractChannel) -> None:
    """From the exchange of all to the one whose queue all may read."""
    dead = await channel.get_exchange("trenza.events.dead", ensure=False)
    await dead.bind("trenza.events", "#")


async def test_services_work_with_them(services: Services, message: Any) -> None:
    bakery, shop, inbox = services
    await bakery.publish([message(number) for number in range(3)])
    await shop.publish([message(3, type_="shop.Sold")])
    await shop.ping()
    assert await inbox.holds(3) == [0, 1, 2]


async def test_nobody_publishes_in_the_name_of_another(services: Services, accounts: Accounts, message: Any) -> None:
    bakery, shop, inbox = services
    with pytest.raises(TransportUnavailable, match="ACCESS_REFUSED"):
        await shop.publish([message(1)])
    assert not await accounts.attempt("crm", publishes("bakery.Baked"))
    assert not await accounts.attempt("crm", publishes("trenza.shop", exchange=""))
    assert not await accounts.attempt("shop", publishes("trenza.bakery", exchange=""))
    assert await accounts.attempt("crm", publishes("crm.Ordered"))
    await bakery.publish([message(2)])
    assert await inbox.holds(1) == [2]


async def test_nobody_reads_what_is_not_theirs(services: Services, accounts: Accounts) -> None:
    assert services
    assert not await accounts.attempt("shop", reads("trenza.bakery"))
    assert not await accounts.attempt("crm", reads("trenza.shop"))
    assert not await accounts.attempt("shop", binds("trenza.shop", "payments.Paid"))
    assert not await accounts.attempt("shop", binds("trenza.shop", "#"))
    assert not await accounts.attempt("shop", binds("trenza.events.dead", "#"))
    assert not await accounts.attempt("shop", forwards_everything)
    assert await accounts.attempt("shop", reads("trenza.events.dead")), "they share it: SECURITY.md says so"


async def test_what_says_that_it_is_of_another_type_is_refused(services: Services, accounts: Accounts, message: Any) -> None:
    """The shop hears the CRM as well, whose account may publish ``crm.…`` only."""
    bakery, _, inbox = services
    assert await accounts.attempt("operator", binds("trenza.shop", "crm.Ordered"))
    assert await accounts.attempt("crm", publishes("crm.Ordered", body=message(666).body.encode()))
    assert await accounts.attempt("operator", publishes("trenza.shop", exchange="", body=message(1).body.encode()))
    await bakery.publish([message(2)])
    assert sorted(await inbox.holds(2)) == [1, 2]
    (strange,) = inbox.strange
    assert b"it was sent as crm.Ordered, and says that it is bakery.Baked" in strange
