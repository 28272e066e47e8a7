"""What is shared by all that talks to other processes of the platform over HTTP: breakers, replicas, sessions, TLS.

`trenza.chassis.peers.sessions` is not imported here: it loads aiohttp, for which a process that makes no calls need not wait.
"""

from trenza.chassis.peers.breaker import Attempt, Breaker, BreakerOpen, BreakerState
from trenza.chassis.peers.limits import CONNECT_SECONDS, KEEP_ALIVE_SECONDS, PeerLimits
from trenza.chassis.peers.replicas import Replica, Replicas, Use
from trenza.chassis.peers.tls import UnusableTls, client_tls, server_tls

__all__ = [
    "CONNECT_SECONDS",
    "KEEP_ALIVE_SECONDS",
    "Attempt",
    "Breaker",
    "BreakerOpen",
    "BreakerState",
    "PeerLimits",
    "Replica",
    "Replicas",
    "UnusableTls",
    "Use",
    "client_tls",
    "server_tls",
]
