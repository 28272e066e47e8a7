"""Which handler a message goes to."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING

from trenza.chassis.contract import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trenza.chassis.messages.definitions import Handler

__all__ = ["NOBODY", "Handlers", "event_types_of"]

NOBODY = ""
"""The consumer of a message whose type no handler of this release takes."""


class Handlers:
    """The handlers of one service, by message type and by consumer. Raises `TypeError` for declarations that contradict."""

    def __init__(self, handlers: Iterable[Handler]) -> None:
        self._by_type: defaultdict[str, list[Handler]] = defaultdict(list)
        self._by_consumer: dict[str, dict[str, Handler]] = {}
        for handler in handlers:
            self._add(handler)

    def _add(self, handler: Handler) -> None:
        type_, consumer = handler.message.message_type, handler.consumer
        if not consumer:
            raise TypeError(f"the handler of {type_} has an empty consumer; name it")
        family = self._by_consumer.setdefault(consumer, {})
        if type_ in family:
            raise TypeError(f"{type_} is handled twice by the consumer {consumer!r}; give one of the functions another name")
        if issubclass(handler.message, Task) and self._by_type[type_]:
            raise TypeError(f"the task {type_} has two handlers; a task is done once")
        if any(other.concurrency != handler.concurrency for other in family.values()):
            raise TypeError(f"the handlers that share the consumer {consumer!r} must name the same concurrency")
        family[type_] = handler
        self._by_type[type_].append(handler)

    @property
    def types(self) -> frozenset[str]:
        """The message types that somebody handles."""
        return frozenset(type_ for type_, handlers in self._by_type.items() if handlers)

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Every consumer with each type that it takes."""
        return frozenset((consumer, type_) for consumer, family in self._by_consumer.items() for type_ in family)

    @cached_property
    def event_types(self) -> frozenset[str]:
        """The types that arrive from a transport: tasks never leave their service."""
        return frozenset(type_ for type_ in self.types if not issubclass(self._by_type[type_][0].message, Task))

    @property
    def subscriptions(self) -> frozenset[tuple[str, str]]:
        """Every type of event with each consumer that takes it."""
        return frozenset((type_, consumer) for type_ in self.event_types for consumer in self.consumers_of(type_))

    @property
    def concurrency(self) -> Mapping[str, int | None]:
        """Every consumer, with how many of its messages may be handled at once in one process (None: no limit of its own)."""
        return {consumer: next(iter(family.values())).concurrency for consumer, family in self._by_consumer.items()}

    def of_type(self, type_: str) -> tuple[Handler, ...]:
        """Everybody who handles this type."""
        return tuple(self._by_type.get(type_, ()))

    def consumers_of(self, type_: str) -> tuple[str, ...]:
        """The consumers of this type of event; none of a task, which nobody gives to a service over a transport."""
        return tuple(handler.consumer for handler in self.of_type(type_)) if type_ in self.event_types else ()

    def of_task(self, type_: str) -> Handler:
        """The one handler of a task. Raises `LookupError` when there is none: it would wait for ever."""
        handlers = self._by_type.get(type_)
        if not handlers:
            raise LookupError(f"no handler of {type_} is declared; add one to the service's handlers")
        return handlers[0]

    def find(self, consumer: str, type_: str) -> Handler | None:
        """The handler of an inbox row, or None when this release does not know it."""
        return self._by_consumer.get(consumer, {}).get(type_)


def event_types_of(handlers: Iterable[Handler]) -> frozenset[str]:
    """The types of events that these handlers react to. Raises `TypeError` as `Handlers` does."""
    return Handlers(handlers).event_types
