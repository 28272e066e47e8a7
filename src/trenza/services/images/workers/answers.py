"""What a worker may answer, checked field by field: it has handled a stranger's file and is not trusted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

__all__ = ["Answer", "Broken", "Ready", "Refused", "Rendered", "Unsuited", "read_answer"]

_Side = Annotated[int, Field(ge=1, le=2**31)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ready(_Answer):
    """The worker has started and waits for jobs."""

    kind: Literal["ready"]
    slow: str = Field(max_length=500)
    """Why it renders everything with libvips; empty when ordinary JPEGs take the fast path."""


class Rendered(_Answer):
    """Every output is written. ``sizes`` are in the order of the job's outputs."""

    kind: Literal["rendered"]
    path: Literal["planes", "libvips"]
    width: _Side
    height: _Side
    taken_at: datetime | None
    latitude: Annotated[float, Field(ge=-90, le=90)] | None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None
    sizes: tuple[tuple[_Side, _Side], ...] = Field(max_length=1000)
    thumbhash: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{4,60}={0,2}$")] | None
    dominant_colour: Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")] | None


class Unsuited(_Answer):
    """The fast path met what it cannot come back from, and its process ends. Another must do the job without it.

    It says nothing about the image: libvips is to judge it.
    """

    kind: Literal["unsuited"]
    detail: str = Field(max_length=500)
    """libjpeg's words, for the log only."""


class Refused(_Answer):
    """The image is at fault."""

    kind: Literal["refused"]
    reason: Literal["damaged", "empty", "too_large", "memory"]
    detail: str = Field(max_length=500)
    """The decoder's words, for the log only."""
    width: int | None = None
    height: int | None = None


class Broken(_Answer):
    """The worker itself could not do its work, for example because the disk is full."""

    kind: Literal["broken"]
    detail: str = Field(max_length=500)


Answer = Annotated[Ready | Rendered | Unsuited | Refused | Broken, Field(discriminator="kind")]
_answers: TypeAdapter[Ready | Rendered | Unsuited | Refused | Broken] = TypeAdapter(Answer)


def read_answer(payload: bytes) -> Answer:
    """Parse an answer; raises ValueError (pydantic.ValidationError) for anything else."""
    return _answers.validate_json(payload)
