"""Limits of how often somebody may ask: at the door for everything, and at routes that declare one."""

from trenza.chassis.http.rate_limits.addresses import Addresses
from trenza.chassis.http.rate_limits.declared import Limit, check_limits, limited
from trenza.chassis.http.rate_limits.door import RateLimitDoor
from trenza.chassis.http.rate_limits.limiter import RateLimits, rate_limits_of

__all__ = ["Addresses", "Limit", "RateLimitDoor", "RateLimits", "check_limits", "limited", "rate_limits_of"]
