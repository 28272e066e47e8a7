"""Where the cluster is and what we make there: the options of the URL, names, and topics."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from trenza.chassis.messages.transports.base import TransportUnavailable
from trenza.chassis.messages.transports.claim_checks import KEPT
from trenza.chassis.messages.transports.opening import BrokerUrl

__all__ = ["Cluster", "Topics"]

_DEFAULT_PORT = 9092
_PASSED_ON = frozenset({
    "security.protocol",
    "sasl.mechanism",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "compression.type",
})  # fmt: skip
"""Options of librdkafka that do not touch what we promise; they mean what they mean there."""
_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_PARTITIONS = 12
_MOST_PARTITIONS = 1000
_BROKERS_DEFAULT = -1
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", re.ASCII)
_ANSWER_SECONDS = 4.0
"""A request of an operator's kind, such as making a topic, is answered by then; together with a retry within ten seconds."""


@dataclass(frozen=True)
class Cluster:
    """What a ``kafka://`` URL says."""

    servers: str
    prefix: str
    options: dict[str, str] = field(repr=False)
    partitions: int
    """How many a topic is made with; one that exists keeps its own."""
    replication: int

    @classmethod
    def read(cls, url: BrokerUrl) -> Cluster:
        """``kafka://host:port,host:port?option=value``. Raises `ValueError`, which quotes no value: it may be a password."""
        parts = urlsplit(url.text)
        hosts = parts.netloc.split(",")
        if "@" in parts.netloc:
            raise ValueError("Kafka's user and password stand in its query: sasl.username=…&sasl.password=…")
        if parts.path.strip("/") or parts.fragment or not all(_HOST.fullmatch(host) for host in hosts):
            raise ValueError("it must name Kafka's servers as kafka://host:9092,host:9092")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        partitions = _number(options, "partitions", default=_PARTITIONS, most=_MOST_PARTITIONS)
        replication = _number(options, "replication", default=_BROKERS_DEFAULT, most=99)
        if unknown := options.keys() - _PASSED_ON:
            known = ", ".join(sorted({"partitions", "replication", "prefix"} | _PASSED_ON))
            raise ValueError(f"it has options that are not known: {', '.join(sorted(unknown))}; known are {known}")
        if options.get("security.protocol", "plaintext").lower() not in _PROTOCOLS:
            raise ValueError(f"its security.protocol must be one of {', '.join(_PROTOCOLS)}")
        servers = ",".join(host if re.search(r":\d+$", host) else f"{host}:{_DEFAULT_PORT}" for host in hosts)
        return cls(servers, url.prefix, options, partitions, replication)

    @property
    def place(self) -> str:
        """The same for people. No user or password stands among the servers."""
        return f"Kafka at {self.servers}"

    def topic_of(self, type_: str) -> str:
        """One topic for all types of a publishing service: order per key spans them."""
        return f"{self.prefix}.{type_.partition('.')[0]}"

    def group_of(self, service: str) -> str:
        """The consumer group of a service."""
        return f"{self.prefix}.{service}"

    def client(self, **more: Any) -> dict[str, Any]:
        """The configuration of a client, with underscores for librdkafka's dots in the names of ``more``."""
        return {
            "bootstrap.servers": self.servers,
            "client.id": "trenza",
            "log_level": 0,  # what goes wrong is told to `error_cb`, and logged there in our own form
            "logger": logging.getLogger("confluent_kafka"),  # what it says at that level too goes where our lines go
            "reconnect.backoff.max.ms": 1000,
            **self.options,
            **{name if name == "error_cb" else name.replace("_", "."): value for name, value in more.items()},
        }


def _number(options: dict[str, str], name: str, *, default: int, most: int) -> int:
    text = options.pop(name, None)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise ValueError(f"its {name} must be a number from 1 to {most}")
    return int(text)


class Topics:
    """Makes topics, and remembers which there are. For use by any thread; each call waits for a few seconds at most."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: set[str] = set()
        self._client: AdminClient | None = None
        self._lock = Lock()

    def missing(self, topics: Iterable[str]) -> set[str]:
        """Those of which it is not known that they exist."""
        return set(topics) - self._known

    def forget(self) -> None:
        """Look anew: who comes back may have forgotten as well."""
        self._known.clear()

    def make(self, topics: Iterable[str]) -> None:
        """See to it that these exist. Raises `TransportUnavailable`."""
        wanted = self.missing(topics)
        if not wanted:
            return
        new = [
            NewTopic(
                topic,
                self._cluster.partitions,
                self._cluster.replication,
                config={
                    "cleanup.policy": "delete",  # compaction would keep one message of a key
                    "retention.ms": str(int(KEPT.total_seconds() * 1000)),  # as long as the object of a large message
                },
            )
            for topic in wanted
        ]
        try:
            made = self._admin().create_topics(new, request_timeout=_ANSWER_SECONDS)
        except KafkaException as error:
            raise TransportUnavailable(f"topics could not be made, {self._cluster.place} fails: {error}") from error
        refused = {topic: said for topic, future in made.items() if (said := _refusal(future)) is not None}
        if refused and not refused.keys() <= self._existing():
            reasons = "; ".join(sorted(set(refused.values())))
            raise TransportUnavailable(f"topics could not be made, {self._cluster.place} refuses: {reasons}")
        self._known |= wanted

    def ask(self) -> None:
        """Ask the cluster for something. Raises `TransportUnavailable`."""
        self._existing()

    def _existing(self) -> set[str]:
        """All topics that we may see: an operator may have made ours, and let us make none."""
        try:
            return set(self._admin().list_topics(timeout=_ANSWER_SECONDS).topics)
        except KafkaException as error:
            raise TransportUnavailable(f"{self._cluster.place} does not answer: {error.args[0].str()}") from error

    def _admin(self) -> AdminClient:
        with self._lock:
            if self._client is None:
                try:
                    self._client = AdminClient(self._cluster.client())
                except KafkaException as error:  # such as a certificate that cannot be read
                    raise TransportUnavailable(f"Kafka's client cannot be made: {error}") from error
            return self._client


def _refusal(future: Future[None]) -> str | None:
    try:
        future.result(_ANSWER_SECONDS + 1)
    except KafkaException as error:
        reason = error.args[0]
        return None if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS else str(reason)
    except TimeoutError:
        return "no answer"
    return None
