"""Which transport the settings ask for, by one URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from trenza.chassis.blobs import Blobs
from trenza.chassis.clock import Clock
from trenza.chassis.messages.transports.base import BrokerTransport, Transport
from trenza.chassis.messages.transports.claim_checks import ClaimChecks
from trenza.chassis.messages.transports.local import LocalTransport
from trenza.chassis.messages.transports.options import InvalidOptions
from trenza.chassis.settings import InvalidSettings

__all__ = ["BrokerUrl", "open_broker", "open_transport"]

_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)
DEFAULT_PREFIX = "trenza"


class _Opener(Protocol):
    def __call__(self, url: BrokerUrl) -> BrokerTransport: ...


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
        try:
            parts = urlsplit(url)
        except ValueError:  # it may quote a part of the password
            raise ValueError("it is no URL; write what is no letter or digit of user and password as %XX") from None
        if "#" in url:
            raise ValueError("it has a #, which would end it; write %23 in its place")
        if parts.scheme.startswith("amqp") and "@" in parts.path + parts.query:
            raise ValueError("it has an @ behind its host; in user and password, write / as %2F, ? as %3F and @ as %40")
        given = parse_qsl(parts.query, keep_blank_values=True)
        prefixes = [value for name, value in given if name == "prefix"] or [DEFAULT_PREFIX]
        if len(prefixes) > 1:
            raise ValueError("prefix is given twice; leave one of them")
        if not _PREFIX.fullmatch(prefixes[0]):
            lacking = "write up to 40 lower-case letters, digits and hyphens, the first a letter"
            raise ValueError(f"prefix is {prefixes[0]!r}; {lacking}, or leave it out for {DEFAULT_PREFIX}")
        rest = urlencode([(name, value) for name, value in given if name != "prefix"])
        return cls(urlunsplit(parts._replace(query=rest)), prefixes[0])

    @property
    def scheme(self) -> str:
        """What comes before the colon."""
        return urlsplit(self.text).scheme


def open_transport(url: str | None, *, blobs: Blobs, clock: Clock) -> Transport:
    """The transport of ``TRENZA_TRANSPORT_URL``; None: the one within a process. Connects to nothing yet.

    Raises `InvalidSettings` as `open_broker` does.
    """
    return LocalTransport() if url is None else ClaimChecks(open_broker(url), blobs, clock)


def open_broker(url: str) -> BrokerTransport:
    """What carries messages over the broker of a URL, those that a broker takes as they are. Connects to nothing yet.

    ``amqp://user:password@host/vhost``, ``kafka://host:9092,host:9092``, ``sqs://region``. Two deployments share a broker by
    ``?prefix=…``. Raises `InvalidSettings` for another kind of URL, for options that cannot be meant, each in a line of its own,
    and for a broker whose library is not installed.
    """
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
        return cast("_Opener", getattr(module, kind.factory))(broker)
    except InvalidOptions as error:
        raise InvalidSettings(tuple(f"TRENZA_TRANSPORT_URL: {problem}" for problem in error.problems)) from None
    except ValueError as error:
        raise InvalidSettings((f"TRENZA_TRANSPORT_URL: {error}",)) from None
