"""A machine of the simulation: it outlives the processes that it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trenza.chassis.testing.simulation.process import DriftingClock, SimulatedProcess

if TYPE_CHECKING:
    from trenza.chassis.messages import Messages
    from trenza.chassis.testing.simulation.databases import SimulatedDatabase

__all__ = ["Machine"]


@dataclass
class Machine:
    """A place that runs one process after another, with a clock and a data folder that outlive them."""

    number: int
    services: tuple[str, ...]
    databases: dict[str, SimulatedDatabase]
    clock: DriftingClock = field(default_factory=DriftingClock)
    process: SimulatedProcess | None = None
    messages: dict[str, Messages] = field(default_factory=dict)
    runs: int = 0

    @property
    def up(self) -> bool:
        """Whether its process runs and has started its services."""
        return self.process is not None and self.process.alive and bool(self.messages)
