"""A broker within the simulation: it delays, repeats, loses acknowledgements and breaks down, and keeps each key's order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trenza.chassis.messages.transports.base import Outgoing, Receiver, TransportUnavailable
from trenza.chassis.testing.simulation.process import SimulatedProcess, here

__all__ = ["Broker", "Wire"]

_LARGEST_DELIVERY = 4
_LONGEST_HOP = 0.3
_RETRY_SECONDS = 0.5


@dataclass(eq=False)
class _Copy:
    """A message as it was published once: published again, it is another copy."""

    message: Outgoing
    in_flight: bool = False

    @property
    def key(self) -> str | None:
        return self.message.ordering_key


@dataclass
class _Queue:
    """What one service has still to receive, and the deliveries that are under way."""

    types: frozenset[str]
    waiting: list[_Copy] = field(default_factory=list)
    under_way: dict[asyncio.Task[None], SimulatedProcess] = field(default_factory=dict)
    receivers: dict[SimulatedProcess, Receiver] = field(default_factory=dict)
    bell: asyncio.Event = field(default_factory=asyncio.Event)


class Broker:
    """Holds messages for services. It outlives every process.

    ``trouble`` is the probability that a publication or a delivery goes wrong in one of the ways that a transport may: refused,
    taken but not confirmed, delivered but not acknowledged, delivered again. ``note`` is told what happened.
    """

    def __init__(self, chance: random.Random, trouble: float, note: Callable[[str, str], None]) -> None:
        self.trouble = trouble
        self.down = False
        self._chance = chance
        self._note = note
        self._queues: dict[str, _Queue] = {}
        self._deliveries: list[asyncio.Task[None]] = []

    def declare(self, service: str, types: frozenset[str]) -> None:
        """Keep messages of these types for a service from now on."""
        self._queues[service] = queue = _Queue(types)
        self._deliveries.append(asyncio.get_running_loop().create_task(self._serve(service, queue)))

    @property
    def empty(self) -> bool:
        """Whether everybody has received everything."""
        return not any(queue.waiting for queue in self._queues.values())

    async def close(self) -> None:
        """Stop delivering."""
        tasks = [*self._deliveries, *(task for queue in self._queues.values() for task in queue.under_way)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def take(self, messages: Sequence[Outgoing]) -> None:
        """Take a batch over, or a part of it. Returns once all of it is safe."""
        await self._hop()
        if self.down:
            raise TransportUnavailable("the broker is down")
        accepted = list(messages)
        if refused := self._goes_wrong():
            accepted = accepted[: self._chance.randrange(len(accepted))]
        process = here()
        if process is not None:
            process.insist()
        for queue in self._queues.values():
            if wanted := [message for message in accepted if message.type in queue.types]:
                queue.waiting.extend(map(_Copy, wanted))
                queue.bell.set()
        if refused:
            self._note("broker", f"takes {len(accepted)} of {len(messages)}")
            raise TransportUnavailable("the broker has refused a part")
        await self._hop()
        if self._goes_wrong():
            self._note("broker", f"does not confirm {len(messages)}")
            raise TransportUnavailable("the confirmation is lost")

    def join(self, service: str, process: SimulatedProcess, receiver: Receiver) -> None:
        """Deliver to this process too."""
        self._queues[service].receivers[process] = receiver
        self._queues[service].bell.set()

    async def leave(self, service: str, process: SimulatedProcess) -> None:
        """Deliver to this process no longer. Returns when no delivery is under way."""
        queue = self._queues[service]
        queue.receivers.pop(process, None)
        if last := [task for task, receiver in queue.under_way.items() if receiver is process]:
            await asyncio.wait(last)

    async def _serve(self, service: str, queue: _Queue) -> None:
        """Give batches to the processes of one service, one or two at a time."""
        while True:
            await queue.bell.wait()
            queue.bell.clear()
            alive = [process for process in queue.receivers if process.alive]
            batch = self._deliverable(queue)
            if not alive or not batch or self.down:
                if queue.waiting:  # nobody is there, or all of it is in flight
                    await asyncio.sleep(_RETRY_SECONDS)
                    queue.bell.set()
                continue
            for copy in batch:
                copy.in_flight = True
            process = self._chance.choice(alive)
            task = asyncio.get_running_loop().create_task(self._deliver(service, queue, process, batch))
            queue.under_way[task] = process
            task.add_done_callback(queue.under_way.pop)
            queue.bell.set()
            await self._hop()

    def _deliverable(self, queue: _Queue) -> list[_Copy]:
        """A few messages: of each ordering key the first ones, and none of a key that is in flight; several keys in any order."""
        blocked = {copy.key for copy in queue.waiting if copy.in_flight} - {None}
        free = [copy for copy in queue.waiting if not copy.in_flight and copy.key not in blocked]
        size = self._chance.randint(1, _LARGEST_DELIVERY)
        batch: list[_Copy] = []
        while free and len(batch) < size:
            pick = self._chance.choice(free)
            head = pick if pick.key is None else next(copy for copy in free if copy.key == pick.key)
            batch.append(head)
            free.remove(head)
        return batch

    async def _deliver(self, service: str, queue: _Queue, process: SimulatedProcess, batch: list[_Copy]) -> None:
        """Give a batch to a process; forget it when that has acknowledged it, unless the acknowledgement is lost."""
        receiver = queue.receivers.get(process)
        try:
            await self._hop()
            if receiver is not None and await self._accepted(process, receiver, [copy.message.body for copy in batch]):
                if self._goes_wrong():
                    self._note("broker", f"repeats {len(batch)} for {service}")
                else:
                    queue.waiting[:] = [copy for copy in queue.waiting if copy not in batch]
            else:
                await asyncio.sleep(_RETRY_SECONDS)
        finally:
            for copy in batch:
                copy.in_flight = False
            queue.bell.set()

    async def _accepted(self, process: SimulatedProcess, receiver: Receiver, bodies: list[str | bytes]) -> bool:
        """Whether the process has stored it and lived to say so."""
        if not process.alive:
            return False
        receiving = process.spawn(_call(receiver, bodies))
        await asyncio.wait([receiving])
        alive: bool = process.alive  # now, and not as it was before
        return alive and not receiving.cancelled() and receiving.exception() is None

    def _goes_wrong(self) -> bool:
        return self._chance.random() < self.trouble

    async def _hop(self) -> None:
        """The way to the broker or from it."""
        await asyncio.sleep(self._chance.choice((0.0, self._chance.random() * _LONGEST_HOP)))


async def _call(receiver: Receiver, bodies: list[str | bytes]) -> None:
    await receiver(bodies)


class Wire:
    """The transport of one process: its connection to the broker."""

    place = "the simulated broker"

    def __init__(self, broker: Broker, process: SimulatedProcess) -> None:
        self._broker = broker
        self._process = process

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Hand a batch to the broker."""
        await self._broker.take(messages)

    async def subscribe(self, service: str, types: frozenset[str], receiver: Receiver) -> None:  # noqa: ARG002 - it was declared
        """Receive what is kept for a service, and what comes."""
        self._broker.join(service, self._process, receiver)

    async def unsubscribe(self, service: str) -> None:
        """Receive nothing more."""
        await self._broker.leave(service, self._process)

    async def ping(self) -> None:
        """Check that the broker answers."""
        if self._broker.down:
            raise TransportUnavailable("the broker is down")

    async def close(self) -> None:
        """Nothing is kept open."""
