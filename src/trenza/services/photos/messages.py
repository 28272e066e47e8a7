"""The payloads of the tasks that photos gives itself."""

from __future__ import annotations

from uuid import UUID

from trenza.chassis.contract import Task

__all__ = ["ForgetAnswers", "RenderPhoto"]


class RenderPhoto(Task, type="photos.RenderPhoto", key="photo_id"):
    """Make the versions of a photo."""

    photo_id: UUID


class ForgetAnswers(Task, type="photos.ForgetAnswers"):
    """Remove the answers kept for idempotency keys that have expired."""
