"""Where the cluster is and what we make there: the options of the URL, names, and topics."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from trenza.chassis.messages.transports.base import TransportUnavailable
from trenza.chassis.messages.transports.claim_checks import KEPT
from trenza.chassis.messages.transports.kafka.reasons import SILENT, fault_of, reason_of
from trenza.chassis.messages.transports.opening import BrokerUrl
from trenza.chassis.messages.transports.options import Options, TlsNames

__all__ = ["Cluster", "Topics"]

_DEFAULT_PORT = 9092
_MOST_PORT = 65535
_TLS = TlsNames(
    authorities="ssl.ca.location",
    certificate="ssl.certificate.location",
    key="ssl.key.location",
    key_password="ssl.key.password",  # noqa: S106 - the name of an option
)
_OPTIONS_OF_TLS = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.key.password")
_OPTIONS_OF_SASL = ("sasl.mechanism", "sasl.username", "sasl.password")
_SECRET = ("sasl.password", "ssl.key.password")
_PASSED_ON = frozenset({"security.protocol", "compression.type", *_OPTIONS_OF_SASL, *_OPTIONS_OF_TLS})
"""Options of librdkafka that do not touch what we promise; they mean what they mean there."""
_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
"""Those that a name and a password are enough for."""
_COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")
_PARTITIONS = 12
_MOST_PARTITIONS = 1000
_BROKERS_DEFAULT = -1
_MOST_REPLICAS = 99
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?", re.ASCII)
_ANSWER_SECONDS = 4.0
"""A request of an operator's kind, such as making a topic, is answered by then; together with a retry within ten seconds."""
_FAULT_SECONDS = 1.0
"""How long it may take to learn why none was."""


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
        """``kafka://host:port,host:port?option=value``. Raises `ValueError`, which shows no value that may be a secret."""
        parts = urlsplit(url.text)
        if "@" in parts.netloc:
            raise ValueError("Kafka's user and password stand in its query: sasl.username=…&sasl.password=…")
        hosts = [_HOST.fullmatch(host) for host in parts.netloc.split(",")]
        if parts.path.strip("/") or any(host is None or not 1 <= int(host[2] or 1) <= _MOST_PORT for host in hosts):
            raise ValueError("it must name Kafka's servers as kafka://host:9092,host:9092")
        options = Options(url.text, known={"partitions", "replication", *_PASSED_ON}, secret=_SECRET)
        partitions = options.number("partitions", most=_MOST_PARTITIONS, default=_PARTITIONS)
        replication = options.number(
            "replication", most=_MOST_REPLICAS, default=_BROKERS_DEFAULT, usual="what the cluster does by itself"
        )
        passed_on = _passed_on(options)
        options.refuse_invalid()
        servers = ",".join(f"{host[1]}:{host[2] or _DEFAULT_PORT}" for host in hosts if host is not None)
        return cls(servers, url.prefix, passed_on, partitions, replication)

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


def _passed_on(options: Options) -> dict[str, str]:
    """What the clients are given, with what librdkafka refuses as late as when a client is made, or never."""
    protocol = options.choice("security.protocol", _PROTOCOLS, default="plaintext")
    chosen = {
        "security.protocol": protocol,
        "compression.type": options.choice("compression.type", _COMPRESSIONS, default="none"),
        "sasl.mechanism": options.choice("sasl.mechanism", _MECHANISMS),
    }
    options.check_tls_files(_TLS)
    if (options.text("security.protocol") or protocol).lower() == protocol:
        _check_protocol(options, protocol)
    return {name: chosen.get(name) or options.text(name) or "" for name in options.given(*sorted(_PASSED_ON))}


def _check_protocol(options: Options, protocol: str) -> None:
    """Note options that the protocol leaves aside, which would be believed to protect, and those that it lacks."""
    if not protocol.endswith("ssl") and (idle := options.given(*_OPTIONS_OF_TLS)):
        other = "sasl_ssl" if protocol.startswith("sasl") else "ssl"
        options.refuse(f"{', '.join(idle)}: unused by security.protocol={protocol}; write {other} there, or leave it out")
    idle = options.given(*_OPTIONS_OF_SASL)
    lacking = [name for name in _OPTIONS_OF_SASL if options.text(name) is None]
    if protocol.startswith("sasl") and lacking:
        mechanisms = ", ".join(_MECHANISMS)
        options.refuse(f"security.protocol={protocol} needs {', '.join(lacking)}; add what is missing (mechanisms: {mechanisms})")
    elif not protocol.startswith("sasl") and idle:
        other = "sasl_ssl" if protocol == "ssl" else "sasl_ssl (or, unencrypted, sasl_plaintext)"
        options.refuse(f"{', '.join(idle)}: unused by security.protocol={protocol}; write {other} there, or leave it out")


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
            raise self._trouble(error) from error
        refused = {topic: said for topic, future in made.items() if (said := _refusal(future)) is not None}
        if refused and not refused.keys() <= self._existing():
            reasons = "; ".join(sorted(set(refused.values())))
            raise TransportUnavailable(f"topics could not be made: {self._cluster.place} {reasons}")
        self._known |= wanted

    def ask(self) -> None:
        """Ask the cluster for something. Raises `TransportUnavailable`."""
        self._existing()

    def _existing(self) -> set[str]:
        """All topics that we may see: an operator may have made ours, and let us make none."""
        try:
            return set(self._admin().list_topics(timeout=_ANSWER_SECONDS).topics)
        except KafkaException as error:
            raise self._trouble(error) from error

    def _admin(self) -> AdminClient:
        with self._lock:
            if self._client is None:
                try:
                    self._client = AdminClient(self._cluster.client())
                except KafkaException as error:  # such as a certificate that is no longer there
                    raise TransportUnavailable(f"{self._cluster.place} cannot be asked: {error.args[0].str()}") from error
            return self._client

    def _trouble(self, error: KafkaException) -> TransportUnavailable:
        reason = reason_of(error.args[0])
        if reason == SILENT:  # librdkafka tells why to callbacks only
            reason = fault_of(self._cluster.client(), _FAULT_SECONDS)
        return TransportUnavailable(f"{self._cluster.place} {reason}")


def _refusal(future: Future[None]) -> str | None:
    try:
        future.result(_ANSWER_SECONDS + 1)
    except KafkaException as error:
        reason = error.args[0]
        return None if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS else reason_of(reason)
    except TimeoutError:
        return SILENT
    return None
