"""What a ``kafka://`` URL may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from trenza.chassis.messages.transports.kafka import KafkaTransport
from trenza.chassis.messages.transports.kafka.cluster import Cluster
from trenza.chassis.messages.transports.opening import BrokerUrl


def read(url: str) -> Cluster:
    return Cluster.read(BrokerUrl.read(url))


def test_servers_options_and_numbers_are_read() -> None:
    cluster = read(
        "kafka://a:9093,b,[::1]:9094?security.protocol=SASL_SSL&sasl.mechanism=PLAIN&sasl.username=u&sasl.password=p%26q"
        "&partitions=3&replication=2&prefix=yard"
    )
    assert cluster.servers == "a:9093,b:9092,[::1]:9094"
    assert (cluster.partitions, cluster.replication) == (3, 2)
    assert cluster.topic_of("bakery.Baked") == "yard.bakery"
    assert cluster.group_of("shop") == "yard.shop"
    config = cluster.client(group_id="yard.shop")
    assert config["sasl.password"] == "p&q"
    assert config["group.id"] == "yard.shop"
    assert "p&q" not in repr(cluster)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://", "must name Kafka's servers"),
        ("kafka://a:9092,", "must name Kafka's servers"),
        ("kafka://a:port", "must name Kafka's servers"),
        ("kafka://a/topic", "must name Kafka's servers"),
        ("kafka://me:secret@a", "sasl.username="),
        ("kafka://a?enable.auto.commit=true&group.id=x", "enable.auto.commit, group.id; known are"),
        ("kafka://a?partitions=0", "partitions must be a number from 1 to 1000"),
        ("kafka://a?partitions=many", "partitions must be a number from 1 to 1000"),
        ("kafka://a?replication=-1", "replication must be a number from 1 to 99"),
        ("kafka://a?security.protocol=secret", "security.protocol must be one of plaintext"),
    ],
)
def test_what_cannot_be_is_refused_without_quoting_a_secret(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refusal:
        KafkaTransport(BrokerUrl.read(url))
    assert "secret" not in str(refusal.value)


def test_every_option_is_documented() -> None:
    with pytest.raises(ValueError, match="known are") as refusal:
        read("kafka://a?no.such=1")
    known = str(refusal.value).partition("known are ")[2].split(", ")
    page = (Path(__file__).parents[3] / "docs" / "messages.md").read_text("utf-8")
    assert len(known) == 12
    assert [option for option in known if f"`{option}`" not in page] == []
