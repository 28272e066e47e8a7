"""The settings of the image engine: ``TRENZA_IMAGES_*``."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["FormatName", "ImagesSettings"]

FormatName = Literal["jpeg", "png", "webp", "tiff", "bmp", "gif", "heic", "avif"]
_MEBIBYTE = 1024 * 1024


class ImagesSettings(BaseSettings):
    """What is accepted, and what decoding it may cost."""

    model_config = SettingsConfigDict(env_prefix="TRENZA_IMAGES_", extra="ignore", frozen=True)

    formats: tuple[FormatName, ...] = ("jpeg", "png", "webp", "tiff", "bmp", "gif", "heic", "avif")
    """The accepted formats. HEIC and BMP also need their decoders: ``pip install 'trenza[images]'``."""
    max_bytes: int = Field(256 * _MEBIBYTE, ge=1)
    """The largest source, in bytes. Services that take uploads set tighter limits of their own."""
    max_pixels: int = Field(100_000_000, ge=1)
    """The most pixels, width x height; the default is that of 10,000 x 10,000, in any shape."""
    max_side: int = Field(65_535, ge=1)
    """The longest side, in pixels."""
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    """Worker processes at most. One uses one core."""
    niceness: int = Field(10, ge=0, le=19)
    """By how much workers step back for the service's other processes (nice): what a caller waits for goes before pixels."""
    fast_jpeg: bool = True
    """Whether ordinary JPEGs take the fast path over planes (decision 0008). Off, libvips renders everything."""
    prewarm: bool = False
    """Start one worker at once rather than with the first image."""
    timeout_seconds: float = Field(30.0, gt=0, le=3600)
    """Wall time that one image may take in a worker. One that needed less processor time than it may had to wait: try again."""
    processor_seconds: int = Field(10, ge=1, le=3600)
    """Processor time that one image may take."""
    memory_bytes: int = Field(1024 * _MEBIBYTE, ge=256 * _MEBIBYTE)
    """Memory that a worker may allocate."""
    scratch_bytes: int = Field(1024 * _MEBIBYTE, ge=16 * _MEBIBYTE)
    """The largest file that a worker may write: outputs, and decoded pixels of large images that cannot be streamed."""
    images_per_worker: int = Field(1000, ge=1)
    """A worker is replaced after so many images, so that leaks in decoders stay bounded."""
    idle_seconds: float = Field(60.0, gt=0)
    """A worker that has had nothing to do for so long ends, and gives its memory back."""
