"""Settings from the environment and from secret files: those that every service shares, and the refusal of bad ones."""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AliasChoices, Field, SecretBytes, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from trenza.chassis.failpoints import parse_failpoint
from trenza.chassis.rates import Rate

__all__ = ["MINIMUM_SECRET_LENGTH", "CannotStart", "InvalidSettings", "PlatformSettings", "UnsafeSettings", "load_settings"]

S = TypeVar("S", bound=BaseSettings)

SECRETS_DIR = "TRENZA_SECRETS_DIR"
"""The variable that names a folder of secret files (as Docker and Kubernetes mount them): one per variable, named after it."""

MINIMUM_SECRET_LENGTH = 32
"""Characters of a shared secret; 32 random ones carry at least 128 bits even in hexadecimal."""


class CannotStart(Exception):
    """Something that whoever runs Trenza must put right. The message has a line for each problem, which ends with its remedy."""


class UnsafeSettings(CannotStart):
    """Production was asked for with settings that are only fit for development; lists all of them at once."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("unsafe for production:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


class InvalidSettings(CannotStart):
    """Variables of the environment that cannot be read; lists all of them, each with its remedy."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("invalid settings:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


def _named(name: str) -> AliasChoices:
    """Both the prefixed and the customary name of a setting: TRENZA_X first, then X."""
    return AliasChoices(f"TRENZA_{name}", name)


class PlatformSettings(BaseSettings):
    """``TRENZA_*`` from the environment; secrets also from files in ``TRENZA_SECRETS_DIR``. Read them with `load_settings`."""

    model_config = SettingsConfigDict(env_prefix="TRENZA_", populate_by_name=True, extra="ignore", frozen=True)

    environment: Literal["development", "production"] = Field("development", validation_alias=_named("ENVIRONMENT"))
    """``production`` refuses unsafe settings, writes JSON logs, and does not migrate by itself."""
    data_dir: Path = Path("trenza-data")
    """The folder of the embedded defaults: databases, objects, keys."""
    public_url: str = "http://127.0.0.1:8000"
    """Where clients reach the platform; the base of every absolute URL that it hands out. Never taken from a Host header."""
    database_url: str | None = None
    """``postgresql+asyncpg://…`` shared by all services (a schema each), or None for SQLite files in the data folder.
    ``TRENZA_<SERVICE>_DATABASE_URL`` overrides it for one service."""
    blobs_url: str | None = None
    """``s3://bucket/prefix`` or None for a folder in the data folder. Credentials and endpoint come from ``AWS_*``."""
    transport_url: SecretStr | None = None
    """What carries events between services: ``amqp://user:password@host/vhost`` (RabbitMQ), ``kafka://host:9092,host:9092`` or
    ``sqs://region`` (behind EventBridge), each with ``?prefix=…`` where deployments share it; docs/messages.md lists
    the other options. None: within the process."""
    signing_key_file: Path | None = None
    """PEM file of the Ed25519 key that signs tokens; None: one is made in the data folder."""
    trusted_keys_dir: Path | None = None
    """Folder of further public keys whose tokens are believed, while keys are rotated: ``*.jwk``, or ``*.pem``. It is looked at
    every two seconds. None: ``trusted`` beside the signing key."""
    blobs_secret: SecretStr | None = None
    """Key of the HMAC of local signed URLs; None: one is made in the data folder."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field((), validation_alias=_named("CORS_ORIGINS"))
    """Origins whose pages may call the API, separated by commas."""
    rate_limit_enabled: bool = True
    """Whether requests are counted and refused at all, by these rates and by those that routes declare."""
    rate_limit_anonymous: str = "100/minute"
    """How often one address (of IPv6: one /64) may ask without a valid token: ``100/minute``, ``5/10 minutes``, or several
    windows, ``10/second, 1000/day``; ``off`` for no limit."""
    rate_limit_authenticated: str = "6000/minute"
    """How often the subject of valid tokens may ask, whatever their number; and one address by signed links."""
    rate_limit_exempt: Annotated[tuple[str, ...], NoDecode] = ()
    """Subjects of tokens that are never counted, separated by commas, such as that of a load test."""
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    """Networks of the proxies in front, separated by commas (``10.0.0.0/8``): from these, and from nobody else, the address of
    the client is taken from ``TRENZA_FORWARDED_HEADER``."""
    forwarded_header: Literal["X-Forwarded-For", "Forwarded"] = "X-Forwarded-For"
    """The one header in which trusted proxies name their client, and which they do not let clients write."""
    redis_url: SecretStr | None = None
    """``redis://user:password@host:6379/0`` (or ``rediss://``, ``unix://``): processes count requests together there, also on
    Valkey. None: each counts for itself."""
    redis_timeout_seconds: float = Field(0.05, gt=0, le=5)
    """How long a request waits for Redis before its process counts it alone."""
    prometheus_enabled: bool = Field(default=True, validation_alias=_named("PROMETHEUS_ENABLED"))
    """Whether ``/metrics`` answers; in production it demands a token with ``platform:viewer``."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log lines that are written."""
    drain_seconds: float = Field(25.0, ge=0, le=600)
    """How long SIGTERM waits for requests and running messages before their leases are released."""
    unready_seconds: float = Field(0.0, ge=0, le=120)
    """How long after SIGTERM the listener stays open while readiness is false, so that load balancers notice."""
    worker_concurrency: int = Field(8, ge=1, le=256)
    """Messages that one service's worker handles at once in one process."""
    call_failure_threshold: int = Field(5, ge=1, le=1000)
    """Failures in a row after which the breaker of another process opens: calls to it then fail at once."""
    call_recovery_seconds: float = Field(60.0, gt=0, le=3600)
    """How long an open breaker waits before it lets a probe through."""
    call_successes_to_close: int = Field(2, ge=1, le=100)
    """Probes in a row that must succeed before a breaker closes."""
    call_concurrency: int = Field(64, ge=1, le=10_000)
    """Calls from this process to one service in other processes that may be under way at once."""
    call_retry_seconds: float = Field(1.0, gt=0, le=60)
    """The longest pause before an idempotent call is tried again; it doubles for the next attempt, of three at most."""
    tls_cert_file: Path | None = None
    """PEM file of the certificate that this process shows to other processes of the platform, as server and as client (mutual
    TLS); None: plain HTTP between them. Set ``TRENZA_TLS_KEY_FILE`` and ``TRENZA_TLS_CA_FILE`` with it."""
    tls_key_file: Path | None = None
    """PEM file of the private key of that certificate, unencrypted."""
    tls_ca_file: Path | None = None
    """PEM file of the authority that has signed the certificates of all processes; no other authority is believed."""
    failpoint: str | None = None
    """For fault tests: ``relay.published:3`` kills the process (SIGKILL) when it comes to that point for the third time.
    The points are those of ``trenza.chassis.failpoints``. Production refuses it."""

    @field_validator("cors_origins", "rate_limit_exempt", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """``https://a.example, https://b.example`` as it is written in an environment variable."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        """``10.0.0.0/8, fd00::/8`` as it is written in an environment variable."""
        return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("rate_limit_anonymous", "rate_limit_authenticated")
    @classmethod
    def _rate(cls, value: str) -> str:
        """A rate that can be read, or none."""
        return value if value == "off" else str(Rate.read(value))

    @field_validator("public_url")
    @classmethod
    def _base_url(cls, value: str) -> str:
        """An address that paths are appended to."""
        if not re.fullmatch(r"https?://[^/?#\s]+[^?#\s]*", value):
            raise ValueError("must be an http:// or https:// address without a query")
        return value.rstrip("/")

    @field_validator("blobs_url")
    @classmethod
    def _bucket(cls, value: str | None) -> str | None:
        """The one kind of object store beside the local folder."""
        if value is not None and not re.fullmatch(r"s3://[^/?#\s]+(/[^?#\s]*)?", value):
            raise ValueError("must be s3://bucket/prefix")
        return value

    @field_validator("failpoint")
    @classmethod
    def _named_point(cls, value: str | None) -> str | None:
        """A point that exists, and perhaps a count."""
        if value is not None:
            parse_failpoint(value)
        return value

    def unsafe_for_production(self) -> tuple[str, ...]:
        """What production must not start with, each with its remedy. Empty in development."""
        if self.environment != "production":
            return ()
        problems = []
        if self.signing_key_file is None:
            problems.append("TRENZA_SIGNING_KEY_FILE is not set: name the PEM file of an Ed25519 private key")
        elif not self.signing_key_file.is_file():
            problems.append(f"TRENZA_SIGNING_KEY_FILE names {self.signing_key_file}, which is no file: mount it there")
        if self.blobs_url is None and self.blobs_secret is None:
            problems.append("TRENZA_BLOBS_SECRET is not set: set 32 or more random characters, or TRENZA_BLOBS_URL")
        if self.blobs_secret is not None and len(self.blobs_secret.get_secret_value()) < MINIMUM_SECRET_LENGTH:
            problems.append(f"TRENZA_BLOBS_SECRET is shorter than {MINIMUM_SECRET_LENGTH} characters: set a longer random one")
        if not self.public_url.startswith("https://"):
            problems.append(f"TRENZA_PUBLIC_URL is {self.public_url!r}: signed links must be handed out as https://")
        if "*" in self.cors_origins:
            problems.append("CORS_ORIGINS holds '*': name the origins")
        if self.failpoint is not None:
            problems.append(f"TRENZA_FAILPOINT is {self.failpoint!r}, which kills the process: unset it")
        return tuple(problems)

    def refuse_unsafe(self, more: tuple[str, ...] = ()) -> None:
        """Raise `UnsafeSettings` that lists every problem, those of the services (``more``) included."""
        if problems := (*self.unsafe_for_production(), *(more if self.environment == "production" else ())):
            raise UnsafeSettings(problems)


def load_settings(kind: type[S], **overrides: Any) -> S:
    """Read settings from ``overrides`` (by field name), the environment and the files of ``TRENZA_SECRETS_DIR``; the first wins.

    Raises `InvalidSettings` with one line for each variable that cannot be read: the variable, the problem, the remedy. Secrets
    are never quoted.
    """
    try:
        return kind(_secrets_dir=_secrets_dir(), **overrides)
    except ValidationError as error:
        raise InvalidSettings(tuple(_problem(kind, dict(item)) for item in error.errors(include_url=False))) from None
    except SettingsError as error:
        raise InvalidSettings((_not_json(kind, str(error)),)) from None


def _not_json(kind: type[BaseSettings], message: str) -> str:
    """The line for a variable that should hold JSON and does not. pydantic-settings names the field, in its message only."""
    match = re.search(r'field "(\w+)"', message)
    field = kind.model_fields.get(match[1]) if match else None
    if match is None or field is None:
        return message
    variable = _variable(kind, match[1], field)
    shown = "" if _is_secret(field.annotation) else f" is {os.environ.get(variable, '')!r}"
    return f"{variable}{shown}: is not JSON; correct it, or unset it for the default"


def _secrets_dir() -> Path | None:
    """The folder of secret files, when one is named; a named one that is missing is refused rather than ignored."""
    named = os.environ.get(SECRETS_DIR)
    if not named:
        return None
    if not Path(named).is_dir():
        raise InvalidSettings((f"{SECRETS_DIR} names {named}, which is no folder: create it, or unset the variable",))
    return Path(named)


def _problem(kind: type[BaseSettings], error: dict[str, Any]) -> str:
    """One error of pydantic as a line for whoever sets the variable."""
    place = str(error["loc"][0]) if error["loc"] else ""
    name, field = _field_at(kind, place)
    variable = _variable(kind, name, field) if field is not None else place
    if not variable:  # a validator of the whole model
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{variable} is not set: set it (it has no default)"
    secret = (field is not None and _is_secret(field.annotation)) or "@" in str(error["input"])  # a URL may hold a password
    shown = "" if secret else f" is {str(error['input'])!r}"
    reason = str(error["msg"]).removeprefix("Value error, ")
    remedy = "" if field is None or field.is_required() else "; correct it, or unset it for the default" + _default(field)
    return f"{variable}{shown}: {reason[:1].lower()}{reason[1:]}{remedy}"


def _field_at(kind: type[BaseSettings], place: str) -> tuple[str, FieldInfo | None]:
    """The field that pydantic calls ``place``, which is its name or one of its aliases."""
    for name, field in kind.model_fields.items():
        aliases = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else [field.validation_alias]
        if place == name or place in aliases:
            return name, field
    return place, None


def _variable(kind: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """The environment variable that sets a field: the one that is set, or else the first that would be read."""
    aliases = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else [field.validation_alias]
    names = [alias for alias in aliases if isinstance(alias, str)] or [f"{kind.model_config.get('env_prefix', '')}{name}".upper()]
    return next((candidate for candidate in names if candidate in os.environ), names[0])


def _is_secret(annotation: object) -> bool:
    """Whether a value of this type must not be shown."""
    return annotation in (SecretStr, SecretBytes) or any(_is_secret(part) for part in get_args(annotation))


def _default(field: FieldInfo) -> str:
    """The default in words, when it is one that fits into a sentence."""
    return f" ({field.default})" if isinstance(field.default, str | int | float | Path) else ""
