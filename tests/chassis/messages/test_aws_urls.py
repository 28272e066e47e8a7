"""What the URL of the transport over AWS says."""

from __future__ import annotations

import pytest

from trenza.chassis.messages.transports.aws import AwsTransport
from trenza.chassis.messages.transports.opening import BrokerUrl


@pytest.mark.parametrize("url", ["sqs://eu-west-1", "sqs://eu-west-1?prefix=x&create=false", "sqs://us-east-1/?create=true"])
async def test_a_region_is_enough(url: str) -> None:
    await AwsTransport(BrokerUrl.read(url)).close()


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("sqs://", "region"),
        ("sqs://key:secret@eu-west-1", "credentials"),
        ("sqs://eu-west-1:443", "region"),
        ("sqs://eu-west-1/queue", "region"),
        ("sqs://eu-west-1?create=no", "create=true or create=false"),
        ("sqs://eu-west-1?topic=x", "nothing else"),
    ],
)
def test_what_it_cannot_mean_is_refused_without_quoting_it(url: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as raised:
        AwsTransport(BrokerUrl.read(url))
    assert "secret" not in str(raised.value)
