"""What an ``amqp://`` URL may say."""

from __future__ import annotations

from urllib.parse import urlsplit

from yarl import URL

from trenza.chassis.messages.transports.opening import BrokerUrl
from trenza.chassis.messages.transports.options import Options, TlsNames

__all__ = ["read_address"]

_HEARTBEAT_SECONDS = 10
"""After two of them without a sign the broker gives a connection up, and what it held to another process."""
_MOST_HEARTBEAT_SECONDS = 3600
_MOST_TIMEOUT_MILLISECONDS = 3_600_000
_MOST_NAME = 200

_PORTS = {"amqp": 5672, "amqps": 5671}
_TLS = TlsNames(authorities="cafile", authorities_folder="capath", certificate="certfile", key="keyfile")
_OPTIONS_OF_TLS = ("cafile", "capath", "certfile", "keyfile", "no_verify_ssl")
_OPTIONS = frozenset({"heartbeat", "name", "connection_timeout", *_OPTIONS_OF_TLS})
"""Those of the library that an operator may need. A misspelt prefix would let two deployments share their queues."""


def read_address(url: BrokerUrl) -> URL:
    """The URL for the library, with its port and heartbeat. Raises `ValueError`, which quotes neither user nor password."""
    parts = urlsplit(url.text)
    try:
        read = URL(url.text)
        host, port = read.host, read.port or _PORTS[parts.scheme]
    except ValueError:  # it may quote a part of the password
        raise ValueError("it is no URL such as amqp://user:password@host:5672/vhost") from None
    if not host or read.port == 0:
        raise ValueError("it names no host, or no port that there is; write amqp://user:password@host:5672/vhost")
    if bool(read.user) is not bool(read.password):
        raise ValueError("it names a user without a password or the reverse; write both, or none for RabbitMQ's own guest:guest")
    options = Options(url.text, known=_OPTIONS)
    heartbeat = options.number("heartbeat", "a number of seconds", most=_MOST_HEARTBEAT_SECONDS, default=_HEARTBEAT_SECONDS)
    _check(options, encrypted=parts.scheme == "amqps")
    options.refuse_invalid()
    return read.with_port(port).update_query(heartbeat=str(heartbeat))


def _check(options: Options, *, encrypted: bool) -> None:
    options.number("connection_timeout", "milliseconds", most=_MOST_TIMEOUT_MILLISECONDS, default=1, usual="the same")
    options.choice("no_verify_ssl", ("0", "1"), default="0")
    name = options.text("name")
    if "name" in options and (name is None or len(name) > _MOST_NAME or not name.isprintable()):
        options.refuse(f"name is {name or ''!r}; write 1 to {_MOST_NAME} printable characters, or leave it out for ours")
    options.check_tls_files(_TLS)
    if not encrypted and (idle := options.given(*_OPTIONS_OF_TLS)):
        options.refuse(f"{', '.join(idle)}: of TLS, which amqp:// does not speak; begin the URL with amqps://, or leave it out")
