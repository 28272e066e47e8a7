"""What an operator sets of the gateway."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["GatewaySettings", "Network"]

Network = IPv4Network | IPv6Network


class GatewaySettings(BaseSettings):
    """``TRENZA_GATEWAY_*`` from the environment; read them with `trenza.chassis.settings.load_settings`."""

    model_config = SettingsConfigDict(env_prefix="TRENZA_GATEWAY_", extra="ignore", frozen=True)

    max_body_bytes: int = Field(4 * 1024**3, ge=1)
    """The most that the body of any request may have, in bytes; services set lower limits themselves."""
    connect_seconds: float = Field(2.0, gt=0)
    """How long a connection to a service may take to be made."""
    answer_seconds: float = Field(130.0, gt=0)
    """How long an answer may take to begin, from the last byte of the request. Longer than the 120 s that services give
    themselves, whose own words say more."""
    idle_seconds: float = Field(130.0, gt=0)
    """How long a service may send nothing in the middle of an answer, or take nothing of a request."""
    replay_bytes: int = Field(16 * 1024**2, ge=0)
    """How much of a body is kept, so that another replica can be asked when the first is lost: for PUT, DELETE and for POST with
    an Idempotency-Key. What is larger is passed on and not asked again."""
    concurrency: int = Field(1024, ge=1)
    """Requests to one service that may be under way at once; more are refused with 503."""
    recovery_seconds: float = Field(5.0, ge=0)
    """How long an open breaker refuses before one request tries the service again: a little more than a restart takes."""
    document_seconds: float = Field(60.0, gt=0)
    """How old the services' OpenAPI documents may become before they are fetched anew."""
    shadow_concurrency: int = Field(16, ge=0)
    """Requests that are sent to both sides at once to compare their answers; more are not compared."""
