"""HTTP/1.1 as the gateway speaks it to services: one connection, and the connections to one service's replicas."""

from trenza.chassis.gateway.upstream.connection import UpstreamConnection
from trenza.chassis.gateway.upstream.errors import ClientGone, NotSent, UpstreamBroke, UpstreamSlow
from trenza.chassis.gateway.upstream.pool import Upstream

__all__ = ["ClientGone", "NotSent", "Upstream", "UpstreamBroke", "UpstreamConnection", "UpstreamSlow"]
