"""What is shared by all that talks to other processes of the platform over HTTP: breakers, replicas, sessions, TLS."""

from trenza.chassis.peers.breaker import Attempt, Breaker, BreakerOpen, BreakerState
from trenza.chassis.peers.limits import PeerLimits
from trenza.chassis.peers.replicas import Replica, Replicas, Use
from trenza.chassis.peers.sessions import CONNECT_SECONDS, KEEP_ALIVE_SECONDS, open_session
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
    "open_session",
    "server_tls",
]
