"""The world of one simulation: machines that run processes, the work they get, and what befalls them."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.messages import LocalTransport, Messages
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.simulation.clients import cancel_one, discard_blocking, produce, redrive_all
from trenza.chassis.testing.simulation.machine import Machine
from trenza.chassis.testing.simulation.process import SimulatedProcess, here
from trenza.chassis.testing.simulation.transport import Broker, Wire
from trenza.chassis.testing.simulation.workload import HANDLERS, SCHEDULES, handler_of

if TYPE_CHECKING:
    from uuid import UUID

    from trenza.chassis.failpoints import Failpoint
    from trenza.chassis.messages.definitions import Delivery, Handler
    from trenza.chassis.testing.simulation.databases import SimulatedDatabase
    from trenza.chassis.testing.simulation.plan import Plan, Step

__all__ = ["World"]

_RESTART_SECONDS = (0.05, 1.0, 5.0, 20.0)
_DRAIN_SECONDS = 5.0


class World:
    """Carries a plan out. ``messages`` is the class under test. What happens is noted in ``history``."""

    def __init__(
        self, plan: Plan, chance: random.Random, databases: list[dict[str, SimulatedDatabase]], messages: type[Messages]
    ) -> None:
        self.plan = plan
        self.history: list[tuple[float, str, str]] = []
        self.problems: list[str] = []
        self.reached: set[Failpoint] = set()
        self.cancelled: set[UUID] = set()
        self.settling = False
        self._ended = False
        self._chance = chance
        self._messages = messages
        self._settings = PlatformSettings(worker_concurrency=4)
        self._broker = Broker(chance, plan.trouble, self.note) if plan.broker else None
        self.machines = [
            Machine(number, services, {name: databases[number][name] for name in services})
            for number, services in enumerate(plan.machines)
        ]
        self._errands: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.Task[None]] = set()

    def note(self, who: str, what: str) -> None:
        """Put something down in the history."""
        self.history.append((asyncio.get_running_loop().time(), who, what))

    def reach(self, point: Failpoint) -> None:
        """Code has come to a named point."""
        process = here()
        if process is not None:
            self.reached.add(point)
            self.note(process.name, point)
            process.reach(point)

    def begins(self, consumer: str, message: Any, delivery: Delivery) -> None:
        """A handler is called."""
        process = here()
        self.note(
            process.name if process else "", f"{consumer} handles {message.message_type} {message.number}, {delivery.attempt}"
        )
        if delivery.attempt > handler_of(consumer).attempts:
            self.problems.append(
                f"attempts never exceed the limit: {consumer} {message.number} was tried {delivery.attempt} times"
            )

    # ── machines ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self) -> None:
        """Start every machine."""
        if self._broker is not None:
            for name, handlers in HANDLERS.items():
                self._broker.declare(name, frozenset(h.message.message_type for h in handlers))
        for machine in self.machines:
            self._start(machine)

    def _start(self, machine: Machine) -> None:
        machine.runs += 1
        process = SimulatedProcess(f"{machine.number}.{machine.runs}", machine.clock)
        process.on_stop = lambda why: self._stopped(machine, process, why)
        machine.process, machine.messages = process, {}
        self.note(process.name, "starts")
        process.spawn(self._boot(machine, process))

    async def _boot(self, machine: Machine, process: SimulatedProcess) -> None:
        messages = {}
        for name, database in machine.databases.items():
            database.renew()
            messages[name] = database.messages = self._messages(
                database,
                name,
                self._handlers(machine, name),
                SCHEDULES[name],
                process.clock,
                self._settings,
                chance=self._chance.random,
            )
        if self._broker is None:
            LocalTransport().connect(*messages.values())
        else:
            for each in messages.values():
                each.use(Wire(self._broker, process))
        try:
            for each in messages.values():
                if len(self.machines) == 1:
                    await each.take_over()
                await each.start(self)
        except DatabaseUnavailable as error:
            process.stop(f"cannot start: {error}")
            return
        machine.messages = messages

    def _handlers(self, machine: Machine, service: str) -> tuple[Handler, ...]:
        """The handlers of a service in the release that a machine runs."""
        older = machine.number == self.plan.older and not self.settling
        return () if older and service == "billing" else HANDLERS[service]

    def _stopped(self, machine: Machine, process: SimulatedProcess, why: str) -> None:
        self.note(process.name, f"stops {why}")
        if self._ended:
            return
        pause = 0.05 if self.settling else self._chance.choice(_RESTART_SECONDS) * (0.5 + self._chance.random())
        self._errand(self._restart(machine, process, pause))

    async def _restart(self, machine: Machine, process: SimulatedProcess, pause: float) -> None:
        await self._bury(machine, process)
        await asyncio.sleep(pause)
        self._start(machine)

    async def _bury(self, machine: Machine, process: SimulatedProcess) -> None:
        """Clear away what remains of a process; its connections were closed when it stopped."""
        await process.buried()
        for database in machine.databases.values():
            await process.spawn(database.close())

    def _errand(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Let something happen beside the plan, in the world outside of any process."""
        task = _outside(coroutine)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    def _client(self, process: SimulatedProcess, coroutine: Coroutine[Any, Any, None]) -> None:
        """Let somebody use a process. The end waits for the answer, or for the death of the process."""
        task = process.spawn(coroutine)
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def carry_out(self) -> None:
        """Do all that the plan says."""
        for step in self.plan.steps:
            await asyncio.sleep(max(step.at - asyncio.get_running_loop().time(), 0.0))
            machine = self.machines[step.machine]
            if machine.process is None or not machine.process.alive:
                continue
            self.note(machine.process.name, f"plan: {step.action} {step.point or step.amount or ''}")
            action: Callable[[Machine, SimulatedProcess, Step], None] = getattr(self, step.action)
            action(machine, machine.process, step)

    def send(self, machine: Machine, process: SimulatedProcess, step: Step) -> None:
        """A unit of work writes some business rows and sends messages."""
        if "orders" in machine.messages:
            self._client(process, produce(machine.databases["orders"], step.sends, self.note, abort=False))

    def abort(self, machine: Machine, process: SimulatedProcess, step: Step) -> None:
        """A unit of work does so and then raises."""
        if "orders" in machine.messages:
            self._client(process, produce(machine.databases["orders"], step.sends, self.note, abort=True))

    def crash(self, _machine: Machine, process: SimulatedProcess, _step: Step) -> None:
        """The process is killed now."""
        process.stop("killed")

    def crash_at(self, _machine: Machine, process: SimulatedProcess, step: Step) -> None:
        """The process is killed the next time it reaches a point."""
        process.doomed_at = step.point

    def crash_after(self, _machine: Machine, process: SimulatedProcess, step: Step) -> None:
        """The process is killed so many statements later."""
        process.statements_left = int(step.amount)

    def freeze(self, _machine: Machine, process: SimulatedProcess, step: Step) -> None:
        """The process stands still for a while."""
        process.freeze(step.amount)

    def move_clock(self, machine: Machine, _process: SimulatedProcess, step: Step) -> None:
        """The machine's clock jumps."""
        machine.clock.move(machine.clock.offset + step.amount)
        for messages in machine.messages.values():
            messages.wake()

    def outage(self, _machine: Machine, _process: SimulatedProcess, step: Step) -> None:
        """The broker is away for a while."""
        self._errand(self._broker_away(step.amount))

    async def _broker_away(self, seconds: float) -> None:
        if self._broker is not None:
            self._broker.down = True
            await asyncio.sleep(seconds)
            self._broker.down = False

    def restart(self, machine: Machine, process: SimulatedProcess, _step: Step) -> None:
        """The process is asked to end, and does."""
        process.spawn(self._drain(machine, process, "drained"))

    async def _drain(self, machine: Machine, process: SimulatedProcess, why: str) -> None:
        messages, machine.messages = machine.messages, {}
        for each in messages.values():
            await each.drain(_DRAIN_SECONDS)
        process.stop(why)

    def cancel(self, machine: Machine, process: SimulatedProcess, _step: Step) -> None:
        """Somebody cancels a task of orders."""
        if "orders" in machine.messages:
            self._client(process, cancel_one(machine.messages["orders"], self._chance, self.cancelled))

    def redrive(self, machine: Machine, process: SimulatedProcess, _step: Step) -> None:
        """An operator lets dead letters be handled again."""
        self._client(process, redrive_all(list(machine.messages.values())))

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def repair(self) -> None:
        """End all faults: what is down comes up, clocks are right."""
        self.settling = True
        self.note("world", "is repaired")
        if self._broker is not None:
            self._broker.trouble, self._broker.down = 0.0, False
        for machine in self.machines:
            machine.clock.move(0.0)
            if machine.process is not None:
                machine.process.doomed_at = machine.process.statements_left = None
                machine.process.thaw()
                if machine.number == self.plan.older:
                    machine.process.stop("to be replaced by the next release")
            for messages in machine.messages.values():
                messages.wake()

    @property
    def quiet(self) -> bool:
        """Whether every machine is up, nobody waits for an answer and the broker has nothing left."""
        up = all(machine.up for machine in self.machines) and not self._clients
        return up and (self._broker is None or self._broker.empty)

    def unblock(self) -> None:
        """Let operators discard the dead letters that others of their key wait for."""
        for machine in self.machines:
            if machine.up and machine.process is not None:
                self._client(machine.process, discard_blocking(list(machine.messages.values())))

    async def end(self) -> None:
        """Drain every machine, and stop the world."""
        self._ended = True
        processes = [machine.process for machine in self.machines if machine.process is not None]
        drains = [p.spawn(self._drain(m, p, "at the end")) for m, p in zip(self.machines, processes, strict=True)]
        await asyncio.wait(drains)
        for machine, process in zip(self.machines, processes, strict=True):
            await self._bury(machine, process)
        for errand in list(self._errands):
            errand.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)
        if self._broker is not None:
            await self._broker.close()


def _outside(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that belongs to no process, whoever begins it."""
    return asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())
