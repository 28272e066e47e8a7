"""What is wrong with RabbitMQ, in words for operators, each with what helps."""

from __future__ import annotations

import socket
import ssl

from aio_pika.exceptions import (
    AuthenticationError,
    ChannelPreconditionFailed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelAccessRefused

__all__ = ["reason_of"]

_BLOCKED = "takes no messages at present: it lacks memory or disk; give it more of what `rabbitmq-diagnostics alarms` names"
_WHO = (
    "refuses the user or the password that TRENZA_TRANSPORT_URL names; correct them (what is no letter or digit as %XX), or let "
    "the user in with `rabbitmqctl add_user` (guest comes in from the broker's own machine only)"
)
_VHOST = (
    "does not open the virtual host that TRENZA_TRANSPORT_URL names (the default one is written /%2F); correct it, or make it "
    "with `rabbitmqctl add_vhost` and let the user in with `rabbitmqctl set_permissions`"
)
_RIGHT = "refuses us a right ({said}); let the user configure, write and read our names with `rabbitmqctl set_permissions`"
_OTHER = "has something else by one of our names ({said}); remove that, or choose another prefix=…"
_FULL = "refuses a message: a queue has reached the bound that a policy gives it; start its service, or raise the bound"
_LATE = "does not answer within {patience:.0f} s; start it, or see whether a firewall keeps us from it"
_REFUSED = "refuses the connection; start it, or correct host and port in TRENZA_TRANSPORT_URL"
_NOWHERE = "has no address that its name leads to; correct the host in TRENZA_TRANSPORT_URL"
_DISBELIEVED = (
    "shows a certificate that is not believed ({error.verify_message}); in TRENZA_TRANSPORT_URL, name its authority with "
    "cafile=…, and the host as the certificate does"
)
_NO_TLS = (
    "and we have no TLS in common ({error.reason}); in TRENZA_TRANSPORT_URL, amqps:// is for its TLS port (5671) and amqp:// for "
    "the other, and certfile=… for a certificate that it demands"
)
_LOOK = (
    "start it, or see what its log says, and whether TRENZA_TRANSPORT_URL leads to a port for AMQP (amqps:// if that takes TLS)"
)

_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (ProbableAuthenticationError, _WHO),
    (AuthenticationError, _WHO),
    (InvalidFrameError, _VHOST),  # it closes instead of opening, and the library shows no more of it
    (ChannelAccessRefused, _RIGHT),
    (ChannelPreconditionFailed, _OTHER),
    (DeliveryError, _FULL),
    (TimeoutError, _LATE),
    (ConnectionRefusedError, _REFUSED),
    (socket.gaierror, _NOWHERE),
    (ssl.SSLCertVerificationError, _DISBELIEVED),
    (ssl.SSLError, _NO_TLS),
    (ConnectionResetError, f"closes the connection; {_LOOK}"),
    (EOFError, f"closes the connection; {_LOOK}"),
    (ConnectionError, f"has lost the connection ({{error}}); {_LOOK}"),
    (OSError, "is not reached ({error}); correct TRENZA_TRANSPORT_URL, or the network to it"),
)
"""By kind of error, the closer ones first: those of AMQP, then those of a connection that cannot be had or has ended."""


def reason_of(error: Exception, *, blocked: bool, patience: float) -> str:
    """A predicate to ``RabbitMQ at host:port``; ``patience`` is how many seconds an answer was waited for."""
    if blocked:
        return _BLOCKED
    cause = error.__cause__ if isinstance(error.__cause__, OSError | EOFError) else error
    said = str(error).partition('"')[2].rstrip('"') or str(error)  # by the broker itself, after the library's own words
    for kind, reason in _REASONS:
        if isinstance(cause, kind):
            return reason.format(error=cause, said=said, patience=patience)
    return f"fails: {type(error).__name__}: {error}"
