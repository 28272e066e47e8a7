"""Draws the picture of a deployment: boxes for processes, cards for services, wires in lanes of their own beside them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from trenza.chassis.runtime.picture.boxes import Box, boxes_of
from trenza.chassis.runtime.picture.elements import Canvas
from trenza.chassis.runtime.picture.lanes import LANE, lanes_for
from trenza.chassis.runtime.picture.parts import draw_box, draw_clients, draw_legend, draw_shared
from trenza.chassis.runtime.picture.wires import CLIENTS, Tap, Wire, in_drawing_order, wires_of
from trenza.chassis.runtime.picture.words import counted, shared_stores
from trenza.chassis.runtime.plan import Plan

__all__ = ["draw_plan"]

_MARGIN = 28
_TITLE_BOTTOM = 84
_CLIENTS_HEIGHT = 34
_NEAR = 26
"""From a box to the first lane beside it: room for the head of an arrow."""
_RADIUS = 7


@dataclass(frozen=True)
class _End:
    """Where a wire ends: a point, and whether it receives there."""

    x: float
    y: float
    receives: bool


def draw_plan(plan: Plan) -> str:
    """The deployment as an SVG document (UTF-8) with its own background, light or dark as its viewer is.

    Equal deployments and settings give equal documents. Nothing of them that is a secret is in it: URLs lose their user, password
    and query.
    """
    wires = wires_of(plan)
    doors = [number for number, wire in enumerate(wires) if wire.kind == "request"]
    # Clients whose one way in is the box right below them are drawn straight above it.
    straight = wires[0].receivers == (Tap(in_drawing_order(plan)[0]),)
    at_left = [number for number in doors if number or not straight]
    left = _MARGIN + (_NEAR + LANE * len(at_left) if at_left else 0)
    clients_top = _TITLE_BOTTOM
    boxes = boxes_of(plan, wires, left=left, top=clients_top + _CLIENTS_HEIGHT + 30)
    by_name = {box.name: box for box in boxes}
    clients_y = clients_top + _CLIENTS_HEIGHT / 2

    def ends(wire: Wire) -> list[_End]:
        taps = [(tap, False) for tap in wire.senders] + [(tap, True) for tap in wire.receivers]
        return [_end(tap, by_name, number_of[wire], receives=receives, clients=(left, clients_y)) for tap, receives in taps]

    number_of = {wire: number for number, wire in enumerate(wires)}
    spans = {number: _span(ends(wire)) for number, wire in enumerate(wires)}

    def lanes(*kinds: str) -> dict[int, int]:
        return lanes_for(
            {n: spans[n] for n, wire in enumerate(wires) if wire.kind in kinds and (wire.kind != "request" or n in at_left)}
        )

    local, remote, event, request = lanes("local"), lanes("remote"), lanes("event"), lanes("request")
    for box in boxes:
        box.width += 12 + LANE * _count(local) if local else 0
    right = boxes[0].right
    x_of = {
        **{number: boxes[0].card_right + 18 + LANE * lane for number, lane in local.items()},
        **{number: right + _NEAR + LANE * lane for number, lane in remote.items()},
        **{number: right + _NEAR + LANE * (_count(remote) + lane) for number, lane in event.items()},
        **{number: left - _NEAR - LANE * lane for number, lane in request.items()},
    }
    outside = _count(remote) + _count(event)
    width = right + (_NEAR + LANE * outside if outside else 0) + _MARGIN

    canvas = Canvas()
    canvas.text(_MARGIN, 46, plan.deployment.name, size=22, weight=600)
    processes, count = plan.deployment.processes, sum(process.replicas for process in plan.deployment.processes.values())
    about = f"{counted(len(plan.services), 'service', 'services')} in {counted(count, 'process', 'processes')}"
    if count != len(processes):
        about += f" of {counted(len(processes), 'kind', 'kinds')}"
    canvas.text(_MARGIN, 67, f"Deployment: {about}", size=13, kind="muted")
    draw_clients(canvas, left, clients_top, _CLIENTS_HEIGHT)
    for box in boxes:
        draw_box(canvas, box)
    if straight:
        _draw_straight(canvas, by_name[wires[0].receivers[0].process], clients_top + _CLIENTS_HEIGHT)
    # The long ones first, so that where two cross the shorter one, which is nearer to its boxes, lies above.
    for number in sorted(x_of, key=lambda number: spans[number][0] - spans[number][1]):
        _draw_wire(canvas, wires[number].kind, x_of[number], sorted(ends(wires[number]), key=lambda end: end.y))
    bottom = draw_shared(canvas, left, boxes[-1].bottom + 28, right - left, shared_stores(plan))
    kinds = tuple(dict.fromkeys(wire.kind for wire in wires))
    bottom = draw_legend(canvas, left, bottom + 30, kinds, width - left - _MARGIN)
    return canvas.document(
        width, bottom + _MARGIN, title=f"Deployment {plan.deployment.name}", description=_described(plan, about)
    )


def _end(tap: Tap, boxes: dict[str, Box], number: int, *, receives: bool, clients: tuple[float, float]) -> _End:
    if tap.process == CLIENTS:
        return _End(*clients, receives)
    box = boxes[tap.process]
    if not tap.service:
        # What a gateway passes on leaves it below the point where requests come in.
        return _End(box.left, box.door_y + (0 if receives else 12), receives)
    return _End(box.card_right, box.row(tap.service).port_y((number, receives)), receives)


def _span(ends: list[_End]) -> tuple[float, float]:
    return min(end.y for end in ends), max(end.y for end in ends)


def _count(lanes: dict[int, int]) -> int:
    return max(lanes.values(), default=-1) + 1


def _draw_straight(canvas: Canvas, box: Box, top: float) -> None:
    x = box.left + 54
    canvas.line("request", f"M{x:g} {top:g}V{box.top - 6:g}")
    canvas.arrow_head("request", x, box.top, towards="down")


def _draw_wire(canvas: Canvas, kind: str, x: float, ends: list[_End]) -> None:
    """A line down the lane with a branch to each end; branches between the first and the last start at a dot."""
    side = 1 if x > ends[0].x else -1
    first, last = ends[0], ends[-1]
    radius = min(_RADIUS, (last.y - first.y) / 2)
    inner = x - side * radius

    def edge(end: _End) -> float:
        return end.x + side * (7 if end.receives else 0)

    path = (
        f"M{edge(first):g} {first.y:g}H{inner:g}Q{x:g} {first.y:g} {x:g} {first.y + radius:g}"
        f"V{last.y - radius:g}Q{x:g} {last.y:g} {inner:g} {last.y:g}H{edge(last):g}"
    )
    branches = [f"M{x:g} {end.y:g}H{edge(end):g}" for end in ends[1:-1]]
    if kind != "local":  # those have boxes behind them, and cross only each other
        canvas.clear(f"M{x:g} {first.y + radius:g}V{last.y - radius:g}")
    canvas.line(kind, path + "".join(branches))
    for before, end in pairwise(ends[:-1]):
        if end is not before:
            canvas.dot(kind, x, end.y, 3)
    for end in ends:
        if end.receives:
            canvas.arrow_head(kind, end.x, end.y, towards="left" if side > 0 else "right")
        else:
            canvas.dot(kind, end.x, end.y, 3.5)


def _described(plan: Plan, about: str) -> str:
    """The picture in sentences, for those who do not see it."""
    sentences = [f"{about[:1].upper()}{about[1:]}."]
    for name, process in plan.deployment.processes.items():
        hosted = f"hosts {', '.join(process.services)}" if process.services else "hosts no service"
        role = "the gateway, " if process.gateway else ""
        sentences.append(f"Process {name}, {role}{hosted}.")
    sentences += [f"In {c.process}, {c.caller} calls {c.callee} {'locally' if c.local else 'remotely'}." for c in plan.calls]
    sentences += [f"{flow.consumer} takes {', '.join(flow.types)}." for flow in plan.events]
    return " ".join(sentences)
