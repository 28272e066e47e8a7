"""Which URLs RabbitMQ's transport takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from trenza.chassis.messages.transports.opening import BrokerUrl
from trenza.chassis.messages.transports.rabbitmq import RabbitTransport


@pytest.mark.parametrize(
    "url",
    [
        "amqp://guest:hun/ter2@127.0.0.1:5672/",
        "amqp://guest:12/hunter2@127.0.0.1:5672/",
        "amqp://guest:12?hun=ter2@127.0.0.1:5672/",
        "amqp://guest:12#hunter2@127.0.0.1:5672/",
        "amqp://guest:hun℀ter2@h/",
        "amqp://guest:hunter2@",
        "amqp://u:hunter2@h:port/",
        "amqp://u:hunter2@h:0/",
        "amqp://hunter@h/",
        "amqp://:hunter2@h/",
    ],
)
async def test_a_url_that_cannot_be_right_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r"^it .*; write |^it .* such as |^it .*; in user and password, write") as told:
        RabbitTransport(BrokerUrl.read(url))
    assert "hun" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://h?heartbeat=abc", "heartbeat is 'abc'; write a number of seconds from 1 to 3600, or leave it out for 10"),
        ("amqp://h?heartbeat=0", "heartbeat is '0'; write a number of seconds from 1 to 3600"),
        ("amqp://h?heartbeat=5&heartbeat=6", "heartbeat is given twice; leave one of them"),
        ("amqp://h?prefix=a&prefix=b", "prefix is given twice; leave one of them"),
        ("amqp://h?prefix=A", "prefix is 'A'; write up to 40 lower-case letters, digits and hyphens"),
        ("amqp://h?connection_timeout=soon", "connection_timeout is 'soon'; write milliseconds from 1 to 3600000"),
        ("amqp://h?name=", "name is ''; write 1 to 200 printable characters"),
        ("amqps://h?no_verify_ssl=false", "no_verify_ssl is 'false'; write one of 0, 1, or leave it out for 0"),
        ("amqps://h?cafile=/no/ca.pem", "cafile is '/no/ca.pem', which cannot be read .No such file.*; name a PEM file"),
        ("amqps://h?capath=/no/folder", "capath is '/no/folder', which is no folder"),
        ("amqps://h?keyfile=/no/key.pem", "keyfile is given without certfile; name the certificate of that key as well"),
        ("amqp://h?no_verify_ssl=1", "no_verify_ssl: of TLS, which amqp:// does not speak; begin the URL with amqps://"),
    ],
)
async def test_an_option_that_cannot_be_meant_is_refused_with_what_can(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RabbitTransport(BrokerUrl.read(url))


async def test_the_place_is_told_with_its_port_and_nothing_else() -> None:
    url = "amqp://u:p@[::1]/%2F?heartbeat=60&name=yard&connection_timeout=500"
    assert RabbitTransport(BrokerUrl.read(url)).place == "RabbitMQ at [::1]:5672"
    assert RabbitTransport(BrokerUrl.read("amqps://h")).place == "RabbitMQ at h:5671"


def test_a_misspelt_option_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"not known: prefxi; known are .*prefix") as refusal:
        RabbitTransport(BrokerUrl.read("amqp://guest:guest@127.0.0.1/%2F?prefxi=x"))
    known = str(refusal.value).partition("known are ")[2].split(", ")
    page = (Path(__file__).parents[3] / "docs" / "messages.md").read_text("utf-8")
    assert len(known) == 9
    assert [parameter for parameter in known if f"`{parameter}`" not in page] == []
