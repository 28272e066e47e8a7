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
        ("sqs://eu_west_1", "'eu_west_1' is no region; write lower-case letters, digits and hyphens"),
        ("sqs://eu-west-1?create=no", "create is 'no'; write one of true, false, or leave it out for true"),
        ("sqs://eu-west-1?topic=x", "not known: topic; known are create, prefix"),
    ],
)
def test_what_it_cannot_mean_is_refused_without_quoting_it(url: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as raised:
        AwsTransport(BrokerUrl.read(url))
    assert "secret" not in str(raised.value)


def test_an_endpoint_that_is_no_address_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "localhost:4566")
    with pytest.raises(ValueError, match=r"AWS_ENDPOINT_URL_SQS.* is no address; write https://host or http://host:port"):
        AwsTransport(BrokerUrl.read("sqs://eu-west-1"))
