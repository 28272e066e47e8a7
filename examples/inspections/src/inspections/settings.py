"""The settings of inspections, ``TRENZA_INSPECTIONS_*``."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["InspectionsSettings"]


class InspectionsSettings(BaseSettings):
    """What an operator may change about inspections."""

    model_config = SettingsConfigDict(env_prefix="TRENZA_INSPECTIONS_", extra="ignore", frozen=True)

    photos_needed: int = Field(3, ge=1, le=100)
    """How many photos close an inspection that does not say so itself."""
    days: int = Field(7, ge=1, le=366)
    """How many days an inspection has before it counts as overdue."""
