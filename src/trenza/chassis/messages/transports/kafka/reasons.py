"""What is wrong with Kafka, in words for operators, each with what helps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from confluent_kafka.admin import AdminClient

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

__all__ = ["SILENT", "fault_of", "reason_of"]

SILENT = (
    "does not answer; start it, or see whether TRENZA_TRANSPORT_URL leads to its listener, whether security.protocol is the "
    "listener's, and whether a firewall keeps us from it"
)
_DISBELIEVED = (
    "shows a certificate that is not believed ({said}); in TRENZA_TRANSPORT_URL, name its authority with ssl.ca.location=…, and "
    "the hosts as the certificate does"
)
_REFUSED = "refuses the connection ({said}); start it, or correct TRENZA_TRANSPORT_URL"
_WHO = (
    "refuses who we are ({said}); in TRENZA_TRANSPORT_URL, correct sasl.mechanism, sasl.username and sasl.password (what is no "
    "letter or digit as %XX)"
)
_RIGHTS = "refuses us a right ({said}); give our user all of them on topics and groups of our prefix (kafka-acls)"
_REASONS = {
    "_TRANSPORT": SILENT,
    "_TIMED_OUT": SILENT,
    "_ALL_BROKERS_DOWN": SILENT,
    "_RESOLVE": "has no address that its name leads to ({said}); correct the hosts in TRENZA_TRANSPORT_URL",
    "_SSL": "and we have no TLS in common ({said}); correct security.protocol and ssl.… in TRENZA_TRANSPORT_URL",
    "_AUTHENTICATION": _WHO,
    "SASL_AUTHENTICATION_FAILED": _WHO,
    "TOPIC_AUTHORIZATION_FAILED": _RIGHTS,
    "GROUP_AUTHORIZATION_FAILED": _RIGHTS,
    "CLUSTER_AUTHORIZATION_FAILED": _RIGHTS,
    "INVALID_REPLICATION_FACTOR": "makes no topic ({said}); set replication=… to as many brokers as there are, or fewer",
}
"""By librdkafka's name of the error."""
_TURN_SECONDS = 0.1


def reason_of(error: KafkaError) -> str:
    """A predicate to ``Kafka at host:port``, from an error that one of librdkafka's calls or callbacks tells."""
    said, reason = error.str(), _REASONS.get(error.name(), "fails: {said}")
    if error.name() in {"_TRANSPORT", "_SSL"} and "certificate" in said:
        reason = _DISBELIEVED
    elif error.name() == "_TRANSPORT" and "refused" in said:
        reason = _REFUSED
    return reason.format(said=said)


def fault_of(configuration: dict[str, Any], seconds: float) -> str:
    """Why no broker can be reached, by one attempt; `SILENT` where none says why. To be called in a thread that may wait.

    A client of its own: callbacks of one that is kept would pile up while nobody asks it anything.
    """
    faults: list[KafkaError] = []
    more: dict[str, Any] = {"error_cb": faults.append}
    client = AdminClient(configuration | more)
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        client.poll(_TURN_SECONDS)
        if told := [fault for fault in faults if fault.name() != "_ALL_BROKERS_DOWN"]:
            return reason_of(told[0])
    return SILENT
