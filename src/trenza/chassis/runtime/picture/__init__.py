"""The picture of a deployment: an SVG of its processes, their services, and what passes between them."""

from trenza.chassis.runtime.picture.drawing import draw_plan

__all__ = ["draw_plan"]
