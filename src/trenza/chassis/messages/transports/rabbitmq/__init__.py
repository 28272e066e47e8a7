"""The transport over RabbitMQ."""

from __future__ import annotations

from trenza.chassis.messages.transports.rabbitmq.transport import RabbitTransport

__all__ = ["RabbitTransport"]
