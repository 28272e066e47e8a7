"""Real brokers for tests and benchmarks, on loopback: started from what `make setup` and the README's packages install."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from trenza.chassis.testing.brokers.protocol import Broker, NotInstalled

__all__ = ["BROKERS", "Broker", "NotInstalled", "broker_class", "start_broker"]

BROKERS = {
    "rabbitmq": "RabbitMQ",
    "tansu": "Tansu",
    "noida": "Noida",
    "ministack": "Ministack",
}
"""The module and the class of each."""


def broker_class(name: str) -> type[Broker]:
    """What starts and stops a broker; nothing is started yet. Its own ``name`` is what people call it."""
    return cast("type[Broker]", getattr(import_module(f"trenza.chassis.testing.brokers.{name}"), BROKERS[name]))


def start_broker(name: str, folder: Path) -> Broker:
    """A broker that answers, with its data in ``folder``. Raises `NotInstalled`."""
    broker = broker_class(name)(folder)
    broker.start()
    return broker
