"""Real brokers for tests and benchmarks, on loopback: started from what `make setup` and the README's packages install."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from trenza.chassis.testing.brokers.protocol import Broker, NotInstalled

__all__ = ["BROKERS", "TITLES", "Broker", "NotInstalled", "start_broker"]

BROKERS = {
    "rabbitmq": "RabbitMQ",
    "tansu": "Tansu",
    "noida": "Noida",
    "ministack": "Ministack",
}
"""The module and the class of each."""
TITLES = {
    "rabbitmq": "RabbitMQ",
    "tansu": "Kafka (Tansu)",
    "noida": "Kafka (noida-db)",
    "ministack": "SQS (ministack)",
}
"""How people call them."""


def start_broker(name: str, folder: Path) -> Broker:
    """A broker that answers, with its data in ``folder``. Raises `NotInstalled`."""
    module = import_module(f"trenza.chassis.testing.brokers.{name}")
    broker = cast("Broker", getattr(module, BROKERS[name])(folder))
    broker.start()
    return broker
