"""Messages: outbox, transport, inbox, tasks and schedules. `Messages` is a service's whole share of them."""

from trenza.chassis.messages.board import TaskPage, TaskState
from trenza.chassis.messages.dead_letters import DeadLetter, DeadLetterPage, DeadLetters
from trenza.chassis.messages.definitions import LeaseLost
from trenza.chassis.messages.handlers import event_types_of
from trenza.chassis.messages.overview import MessagesOverview, QueueState
from trenza.chassis.messages.service_messages import Messages
from trenza.chassis.messages.transports.base import TransportUnavailable
from trenza.chassis.messages.transports.local import LocalTransport
from trenza.chassis.messages.transports.neighbours import NeighbourTransport
from trenza.chassis.messages.transports.opening import open_broker, open_transport

__all__ = [
    "DeadLetter",
    "DeadLetterPage",
    "DeadLetters",
    "LeaseLost",
    "LocalTransport",
    "Messages",
    "MessagesOverview",
    "NeighbourTransport",
    "QueueState",
    "TaskPage",
    "TaskState",
    "TransportUnavailable",
    "event_types_of",
    "open_broker",
    "open_transport",
]
