"""Which URLs RabbitMQ's transport takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from trenza.chassis.messages.transports.opening import BrokerUrl
from trenza.chassis.messages.transports.rabbitmq import RabbitTransport


@pytest.mark.parametrize("url", ["amqp://guest:hun/ter2@127.0.0.1:5672/", "amqp://guest:hunter2@", "amqp://u:hunter2@h:port/"])
async def test_a_url_that_cannot_be_right_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r"^it ") as told:
        RabbitTransport(BrokerUrl.read(url))
    assert "hun" not in str(told.value)


def test_a_misspelt_parameter_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"'prefxi'; there are .*prefix") as refusal:
        RabbitTransport(BrokerUrl.read("amqp://guest:guest@127.0.0.1/%2F?prefxi=x"))
    known = str(refusal.value).partition("there are ")[2].split(", ")
    page = (Path(__file__).parents[3] / "docs" / "messages.md").read_text("utf-8")
    assert [parameter for parameter in known if f"`{parameter}`" not in page] == []
