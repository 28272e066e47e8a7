"""The settings of photos, ``TRENZA_PHOTOS_*``: limits and the versions that are made."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from trenza.chassis.settings import MINIMUM_SECRET_LENGTH
from trenza.services.photos.webhooks.addresses import Allowed

__all__ = ["ORIGINAL", "PhotosSettings", "Preset"]

ORIGINAL = "original"
"""The name by which the untouched file is asked for; no version may carry it."""


class Preset(BaseModel):
    """The order for one version: a box in pixels, how the image fits it, and the JPEG's quality and kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_-]{1,32}$")
    width: int = Field(ge=1, le=16383)
    height: int = Field(ge=1, le=16383)
    fit: Literal["inside", "cover"] = "inside"
    quality: int = Field(82, ge=1, le=100)
    progressive: bool = True


_PRESETS = (
    Preset(name="thumbnail", width=320, height=320, fit="cover", quality=75),
    Preset(name="small", width=640, height=640, quality=75),
    Preset(name="medium", width=1280, height=1280, quality=72),
    Preset(name="large", width=2048, height=2048, quality=82),
)


class PhotosSettings(BaseSettings):
    """What an operator may change about photos."""

    model_config = SettingsConfigDict(env_prefix="TRENZA_PHOTOS_", extra="ignore", frozen=True)

    presets: tuple[Preset, ...] = _PRESETS
    """The versions made of each photo, as a JSON list of ``{"name", "width", "height", "fit", "quality", "progressive"}``."""
    max_file_bytes: int = Field(50 * 1024 * 1024, ge=1)
    """Size limit of one file (50 MB)."""
    max_files: int = Field(20, ge=1, le=1000)
    """Most files of one upload."""
    max_wait_seconds: int = Field(60, ge=0, le=600)
    """The longest that ``Prefer: wait=N`` makes an answer wait."""
    link_seconds: int = Field(3600, ge=1, le=7 * 24 * 3600)
    """How long a signed link to an object works."""
    upload_seconds: int = Field(3600, ge=60, le=24 * 3600)
    """How long the link of a direct upload takes its file."""
    webhook_secret: SecretStr | None = None
    """Key of the HMAC by which receivers of webhooks know them as ours; None: one is made in the data folder."""
    webhook_allow: Annotated[tuple[str, ...], NoDecode] = ()
    """What webhooks may reach although it is not public: host names and networks (``10.0.0.0/8``), separated by commas."""
    webhook_ca_file: Path | None = None
    """PEM file of authorities whose certificates receivers of webhooks may show, beside the usual ones; None: only those."""
    webp_quality: int = Field(75, ge=1, le=100)
    """Quality of versions that are asked for as WebP."""
    avif_quality: int = Field(55, ge=1, le=100)
    """Quality of versions that are asked for as AVIF."""
    deleted_retention_days: int = Field(30, ge=0, le=3660)
    """How long the objects of a deleted photo are kept before it is purged."""
    orphan_grace_hours: int = Field(24, ge=1, le=24 * 365)
    """How old an object that belongs to no photo must be to be swept."""
    timezone: str = "UTC"
    """The zone of moments that name none: those of cameras (EXIF seldom says) and those given without an offset."""

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("webhook_allow")
    @classmethod
    def _hosts_and_networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        Allowed.of(entries)
        return entries

    @field_validator("webhook_ca_file")
    @classmethod
    def _certificates(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                ssl.create_default_context(cafile=path)
            except OSError as error:  # ssl.SSLError is one
                message = f"{path} cannot be read as certificates in PEM ({error.strerror or error}); name a file of them"
                raise ValueError(message) from error
        return path

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in available_timezones():
            message = f"{name!r} is no time zone; name one of the IANA database, such as 'America/Bogota'"
            raise ValueError(message)
        return name

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        names = [preset.name for preset in self.presets]
        if not names:
            raise ValueError("presets is empty; name at least one version")
        if ORIGINAL in names or len(set(names)) != len(names):
            message = f"the names of presets must differ from each other and from {ORIGINAL!r}"
            raise ValueError(message)
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The zone of moments that name none."""
        return ZoneInfo(self.timezone)

    @property
    def webhook_reach(self) -> Allowed:
        """What webhooks may reach although it is not public."""
        return Allowed.of(self.webhook_allow)

    @property
    def link_lifetime(self) -> timedelta:
        """How long a signed link works."""
        return timedelta(seconds=self.link_seconds)

    def unsafe_for_production(self) -> tuple[str, ...]:
        """What production must not start with, each with its remedy."""
        if self.webhook_secret is None:
            return ("TRENZA_PHOTOS_WEBHOOK_SECRET is not set: set 32 or more random characters",)
        if len(self.webhook_secret.get_secret_value()) < MINIMUM_SECRET_LENGTH:
            return (f"TRENZA_PHOTOS_WEBHOOK_SECRET is shorter than {MINIMUM_SECRET_LENGTH} characters: set a longer random one",)
        return ()
