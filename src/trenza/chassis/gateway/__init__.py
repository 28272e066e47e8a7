"""The gateway: one door before all services, wherever they run. Rate limits go around it, as another ASGI middleware."""

from trenza.chassis.gateway.app import Gateway, GatewayMisdeclared
from trenza.chassis.gateway.declarations import Composition, GatewayDeclarations, Move
from trenza.chassis.gateway.routes import GatewayRoute
from trenza.chassis.gateway.settings import GatewaySettings

__all__ = ["Composition", "Gateway", "GatewayDeclarations", "GatewayMisdeclared", "GatewayRoute", "GatewaySettings", "Move"]
