"""What a ``kafka://`` URL may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from trenza.chassis.messages.transports.kafka import KafkaTransport
from trenza.chassis.messages.transports.kafka.cluster import Cluster
from trenza.chassis.messages.transports.opening import BrokerUrl
from trenza.chassis.messages.transports.options import InvalidOptions

SASL = "kafka://a?security.protocol=sasl_plaintext"


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
        ("kafka://a:0", "must name Kafka's servers"),
        ("kafka://a:65536", "must name Kafka's servers"),
        ("kafka://a?partitions=0", "partitions is '0'; write a number from 1 to 1000, or leave it out for 12"),
        ("kafka://a?partitions=many", "partitions is 'many'; write a number from 1 to 1000"),
        ("kafka://a?replication=-1", "replication is '-1'; write a number from 1 to 99"),
        ("kafka://a?security.protocol=tls", "security.protocol is 'tls'; write one of plaintext, ssl, sasl_plaintext, sasl_ssl"),
        ("kafka://a?compression.type=brotli", "compression.type is 'brotli'; write one of none, gzip, snappy, lz4, zstd"),
        ("kafka://a?sasl.mechanism=BOGUS", "sasl.mechanism is 'BOGUS'; write one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
        ("kafka://a?sasl.password=secret", "sasl.password: unused by security.protocol=plaintext; write sasl_ssl"),
        (f"{SASL}&sasl.username=u&sasl.password=secret", "needs sasl.mechanism; add what is missing .mechanisms: PLAIN, SCRAM"),
        (f"{SASL}&sasl.mechanism=PLAIN", "needs sasl.username, sasl.password; add what is missing"),
        (f"{SASL}&sasl.mechanism=PLAIN&sasl.username=u&sasl.password=", "needs sasl.password; add what is missing"),
        ("kafka://a?ssl.key.password=secret", "ssl.key.password: unused by security.protocol=plaintext; write ssl there"),
        ("kafka://a?security.protocol=ssl&ssl.ca.location=/no/ca.pem", "ssl.ca.location is '/no/ca.pem', which cannot be read"),
        ("kafka://a?sasl.password=x&secret&security.protocol=sasl_ssl", "no option .within a value it is written %26"),
        ("kafka://a?sasl.password=x&secret=y", "no option .within a value it is written %26"),
        ("kafka://a?sasl.password=x#secret", "it has a #, which would end it; write %23"),
    ],
)
def test_what_cannot_be_is_refused_without_quoting_a_secret(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refusal:
        KafkaTransport(BrokerUrl.read(url))
    assert "secret" not in str(refusal.value)


def test_everything_that_is_wrong_is_told_at_once_and_capitals_are_taken() -> None:
    with pytest.raises(InvalidOptions) as refusal:
        read(f"{SASL.upper().replace('KAFKA://A', 'kafka://a').replace('SECURITY.PROTOCOL', 'security.protocol')}&partitions=x")
    assert [problem.partition(";")[0] for problem in refusal.value.problems] == [
        "partitions is 'x'",
        "security.protocol=sasl_plaintext needs sasl.mechanism, sasl.username, sasl.password",
    ]
    config = read(f"{SASL}&sasl.mechanism=scram-sha-256&sasl.username=u&sasl.password=p").client()
    assert config["sasl.mechanism"] == "SCRAM-SHA-256"


def test_every_option_is_documented() -> None:
    with pytest.raises(ValueError, match="known are") as refusal:
        read("kafka://a?no.such=1")
    known = str(refusal.value).partition("known are ")[2].split(", ")
    page = (Path(__file__).parents[3] / "docs" / "messages.md").read_text("utf-8")
    assert len(known) == 12
    assert [option for option in known if f"`{option}`" not in page] == []
