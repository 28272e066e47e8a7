"""Settings that every service shares, and the refusal of unsafe ones in production."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["PlatformSettings", "UnsafeSettings"]


class UnsafeSettings(Exception):
    """Production was asked for with settings that are only fit for development; lists all of them at once."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("unsafe for production:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


def _named(name: str) -> AliasChoices:
    """Both the prefixed and the customary name of a setting: TRENZA_X first, then X."""
    return AliasChoices(f"TRENZA_{name}", name)


class PlatformSettings(BaseSettings):
    """``TRENZA_*`` from the environment; secrets also from files in ``TRENZA_SECRETS_DIR``."""

    model_config = SettingsConfigDict(env_prefix="TRENZA_", populate_by_name=True, extra="ignore", frozen=True)

    environment: Literal["development", "production"] = Field("development", validation_alias=_named("ENVIRONMENT"))
    data_dir: Path = Path("trenza-data")
    """The folder of the embedded defaults: databases, objects, keys."""
    public_url: str = "http://127.0.0.1:8000"
    """Where clients reach the platform; the base of every absolute URL that it hands out. Never taken from a Host header."""
    database_url: str | None = None
    """``postgresql+asyncpg://…`` shared by all services (a schema each), or None for SQLite files in the data folder.
    ``TRENZA_<SERVICE>_DATABASE_URL`` overrides it for one service."""
    blobs_url: str | None = None
    """``s3://bucket/prefix`` or None for a folder in the data folder. Credentials and endpoint come from ``AWS_*``."""
    signing_key_file: Path | None = None
    """PEM file of the Ed25519 key that signs tokens; None: one is made in the data folder."""
    blobs_secret: SecretStr | None = None
    """Key of the HMAC of local signed URLs; None: one is made in the data folder."""
    cors_origins: tuple[str, ...] = Field((), validation_alias=_named("CORS_ORIGINS"))
    prometheus_enabled: bool = Field(default=True, validation_alias=_named("PROMETHEUS_ENABLED"))
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_seconds: float = Field(25.0, ge=0, le=600)
    """How long SIGTERM waits for requests and running messages before their leases are released."""
    worker_concurrency: int = Field(8, ge=1, le=256)
    """Messages that one service's worker handles at once in one process."""

    def unsafe_for_production(self) -> tuple[str, ...]:
        """What production must not start with, each with its remedy. Empty in development."""
        if self.environment != "production":
            return ()
        problems = []
        if self.signing_key_file is None:
            problems.append("TRENZA_SIGNING_KEY_FILE is not set: name the PEM file of an Ed25519 private key")
        if self.blobs_url is None and self.blobs_secret is None:
            problems.append("TRENZA_BLOBS_SECRET is not set: set 32 or more random characters, or TRENZA_BLOBS_URL")
        if self.blobs_secret is not None and len(self.blobs_secret.get_secret_value()) < 32:  # noqa: PLR2004
            problems.append("TRENZA_BLOBS_SECRET is shorter than 32 characters")
        if not self.public_url.startswith("https://"):
            problems.append(f"TRENZA_PUBLIC_URL is {self.public_url!r}: signed links must be handed out as https://")
        if "*" in self.cors_origins:
            problems.append("CORS_ORIGINS holds '*': name the origins")
        return tuple(problems)

    def refuse_unsafe(self, more: tuple[str, ...] = ()) -> None:
        """Raise `UnsafeSettings` that lists every problem, those of the services (``more``) included."""
        if problems := (*self.unsafe_for_production(), *(more if self.environment == "production" else ())):
            raise UnsafeSettings(problems)
