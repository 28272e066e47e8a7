"""Idempotency-Key: a request that is sent again gets the first one's answer, and takes effect once."""

from __future__ import annotations

from trenza.chassis.http.idempotency.keys import free_interrupted_keys
from trenza.chassis.http.idempotency.requests import (
    Idempotency,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    fingerprint_of,
)

__all__ = [
    "Idempotency",
    "IdempotencyKeyInUse",
    "IdempotencyKeyReused",
    "InvalidIdempotencyKey",
    "fingerprint_of",
    "free_interrupted_keys",
]
