"""Which transport the settings ask for, by one URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from trenza.chassis.blobs import Blobs
from trenza.chassis.clock import Clock
from trenza.chassis.messages.transports.base import Transport
from trenza.chassis.messages.transports.claim_checks import ClaimChecks
from trenza.chassis.messages.transports.local import LocalTransport
from trenza.chassis.settings import InvalidSettings

__all__ = ["BrokerUrl", "open_transport"]

_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)
DEFAULT_PREFIX = "trenza"


class _Opener(Protocol):
    def __call__(self, url: BrokerUrl) -> Transport: ...


@dataclass(frozen=True)
class _Kind:
    title: str
    module: str
    factory: str
    extra: str


_RABBITMQ = _Kind("RabbitMQ", "rabbitmq", "RabbitTransport", "rabbitmq")
_KINDS = {
    "amqp": _RABBITMQ,
    "amqps": _RABBITMQ,
    "kafka": _Kind("Kafka", "kafka", "KafkaTransport", "kafka"),
    "sqs": _Kind("SQS and EventBridge", "aws", "AwsTransport", "aws"),
}


@dataclass(frozen=True)
class BrokerUrl:
    """Where a broker is: ``text`` is the URL without our own parameter ``prefix``, which begins the name of all we make there."""

    text: str
    prefix: str = DEFAULT_PREFIX

    @classmethod
    def read(cls, url: str) -> BrokerUrl:
        """Take ``prefix`` out of the query. Raises `ValueError`, without quoting the URL: it may hold a password."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        prefix = query.pop("prefix", DEFAULT_PREFIX)
        if not _PREFIX.fullmatch(prefix):
            raise ValueError("its prefix must be up to 40 lower-case letters, digits and hyphens, and begin with a letter")
        return cls(urlunsplit(parts._replace(query=urlencode(query))), prefix)

    @property
    def scheme(self) -> str:
        """What comes before the colon."""
        return urlsplit(self.text).scheme


def open_transport(url: str | None, *, blobs: Blobs, clock: Clock) -> Transport:
    """The transport of ``TRENZA_TRANSPORT_URL``; None: the one within a process. Connects to nothing yet.

    ``amqp://user:password@host/vhost``, ``kafka://host:9092,host:9092``, ``sqs://region``. Two deployments share a broker by
    ``?prefix=…``. Raises `InvalidSettings` for another kind of URL and for one whose library is not installed.
    """
    if url is None:
        return LocalTransport()
    try:
        broker = BrokerUrl.read(url)
    except ValueError as error:
        raise InvalidSettings((f"TRENZA_TRANSPORT_URL: {error}",)) from None
    kind = _KINDS.get(broker.scheme)
    if kind is None:
        known = ", ".join(f"{scheme}://" for scheme in _KINDS)
        raise InvalidSettings((f"TRENZA_TRANSPORT_URL is of an unknown kind: it begins with {known}, or is unset",))
    try:
        module = import_module(f"trenza.chassis.messages.transports.{kind.module}")
    except ImportError as error:
        remedy = f"pip install 'trenza[{kind.extra}]'"
        raise InvalidSettings((f"TRENZA_TRANSPORT_URL asks for {kind.title}, whose library is missing: {remedy}",)) from error
    try:
        transport = cast("_Opener", getattr(module, kind.factory))(broker)
    except ValueError as error:
        raise InvalidSettings((f"TRENZA_TRANSPORT_URL: {error}",)) from None
    return ClaimChecks(transport, blobs, clock)
