"""The boxes of the picture, one for each process, and the rows in them, one for each service; all lengths in pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

from trenza.chassis.runtime.picture.text import wrapped
from trenza.chassis.runtime.picture.wires import Tap, Wire, in_drawing_order
from trenza.chassis.runtime.picture.words import address_of, badges_of, database_of, events_of
from trenza.chassis.runtime.plan import Plan
from trenza.chassis.service import Service

__all__ = [
    "CARD_WIDTH",
    "DETAIL_SIZE",
    "LABEL_WIDTH",
    "LINE",
    "NAME_SIZE",
    "PADDING",
    "SHADOW",
    "Box",
    "Detail",
    "Row",
    "boxes_of",
]

NAME_SIZE, DETAIL_SIZE = 15, 12
LINE = 18
"""From one line of text to the next."""
PADDING = 12
SHADOW = 5
"""By how much the outline of one more replica looks out below a box; at most two do."""
LABEL_WIDTH = 78
CARD_WIDTH = 500
"""A service's card within the box of its process."""
_HEADER = 58
_TEXT_WIDTH = CARD_WIDTH - 2 * PADDING
_BETWEEN_PORTS = 14
_BETWEEN_CARDS = 8
_GAP = 28


@dataclass
class Detail:
    """A label and the lines beside it."""

    label: str
    lines: list[str]
    mono: bool = False


@dataclass
class Row:
    """A service in its process."""

    service: str
    details: list[Detail]
    ports: list[tuple[int, bool]]
    """Its ends of wires from top to bottom: the number of the wire, and whether it receives there."""
    top: float = 0.0
    height: float = 0.0

    def port_y(self, port: tuple[int, bool]) -> float:
        """Where a wire ends."""
        return round(self.top + self.height * (self.ports.index(port) + 1) / (len(self.ports) + 1), 1)


@dataclass
class Box:
    """A process."""

    name: str
    address: str
    badges: tuple[str, ...]
    replicas: int
    left: float
    top: float
    width: float = CARD_WIDTH + 2 * PADDING
    rows: list[Row] = field(default_factory=list)
    height: float = _HEADER

    @property
    def right(self) -> float:
        """Its outer edge."""
        return self.left + self.width

    @property
    def card_right(self) -> float:
        """The edge of the cards, at which wires end."""
        return self.left + PADDING + CARD_WIDTH

    @property
    def bottom(self) -> float:
        """Its lower edge, those of its replicas included."""
        return self.top + self.height + self.shadows * SHADOW

    @property
    def shadows(self) -> int:
        """How many outlines of replicas look out below it."""
        return min(2, self.replicas - 1)

    @property
    def door_y(self) -> float:
        """Where requests come in."""
        return self.top + _HEADER / 2

    def row(self, service: str) -> Row:
        """The row of a service."""
        return next(row for row in self.rows if row.service == service)


def boxes_of(plan: Plan, wires: tuple[Wire, ...], *, left: float, top: float) -> list[Box]:
    """The boxes, one below the other."""
    boxes = []
    services = {service.name: service for service in plan.services}
    for name in in_drawing_order(plan):
        process = plan.deployment.processes[name]
        box = Box(name, address_of(plan, process), badges_of(plan, process), process.replicas, left, top)
        below = top + _HEADER
        for service in process.services:
            row = Row(service, _details(plan, services[service]), _ports(wires, Tap(name, service)), below)
            lines = 1 + sum(len(detail.lines) for detail in row.details)
            row.height = max(lines * LINE + 21, (len(row.ports) + 1) * _BETWEEN_PORTS)
            box.rows.append(row)
            below += row.height + _BETWEEN_CARDS
        box.height = below - top + (PADDING - _BETWEEN_CARDS if box.rows else 0)
        boxes.append(box)
        top = box.bottom + _GAP
    return boxes


def _details(plan: Plan, service: Service) -> list[Detail]:
    takes = [kind for flow in plan.events if flow.consumer == service.name for kind in flow.types]
    found = [
        ("paths", service.contract.paths, True),
        ("database", database_of(plan, service).split(), False),
        ("announces", _listed(events_of(service)), False),
        ("takes", _listed(tuple(takes)), False),
    ]
    width = _TEXT_WIDTH - LABEL_WIDTH
    return [Detail(label, wrapped(words, width, DETAIL_SIZE, mono=mono), mono) for label, words, mono in found if words]


def _listed(names: tuple[str, ...]) -> list[str]:
    return [f"{name}," for name in names[:-1]] + list(names[-1:])


def _ports(wires: tuple[Wire, ...], tap: Tap) -> list[tuple[int, bool]]:
    return [
        (number, receives)
        for number, wire in enumerate(wires)
        for receives, taps in ((False, wire.senders), (True, wire.receivers))
        if tap in taps
    ]
