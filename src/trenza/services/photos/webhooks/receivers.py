"""Which receivers of webhooks are in trouble, so that one that does not answer holds nobody else's up."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from trenza.chassis.clock import Clock

__all__ = ["ReceiverBusy", "ReceiverUnreachable", "Receivers", "WebhookFailed"]

FAILURES: Final = 5
"""So many calls in a row without any answer, and a host is left alone."""
RECOVERY: Final = timedelta(seconds=60)
"""How long; then one call at a time finds out whether it is back."""
SUCCESSES: Final = 2
"""So many of these with an answer, and everything is as before."""
_PROBE_SECONDS: Final = 10.0
_MOST_HOSTS: Final = 1000


class WebhookFailed(Exception):
    """The receiver could not be reached, or answered with something else than a 2xx."""


class ReceiverUnreachable(WebhookFailed):
    """The receiver's host gave no answer at all."""


class ReceiverBusy(Exception):
    """Not now: the receiver says so itself, or its host has given no answer for a while. ``seconds`` until the next try."""

    def __init__(self, reason: str, *, seconds: float) -> None:
        super().__init__(reason)
        # Spread, so that what has waited together does not come back together.
        self.seconds = seconds * random.uniform(1.0, 1.5)  # noqa: S311 - no secret


@dataclass
class _Trouble:
    failures: int = 0
    successes: int = 0
    until: datetime | None = None
    probed: bool = False


class Receivers:
    """A circuit breaker per host, in this process. What a host answers does not count, only whether it does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._troubles: dict[str, _Trouble] = {}

    @contextmanager
    def attempt(self, host: str) -> Iterator[None]:
        """Around one call of a host. Raises `ReceiverBusy` instead of letting it through while the host is left alone."""
        trouble = self._troubles.get(host)
        probing = trouble is not None and self._must_probe(host, trouble)
        if trouble is not None and probing:
            trouble.probed = True
        try:
            yield
        except ReceiverUnreachable:
            self._unanswered(host)
            raise
        except WebhookFailed:
            self._answered(host)
            raise
        else:
            self._answered(host)
        finally:
            if trouble is not None and probing:
                trouble.probed = False

    def _must_probe(self, host: str, trouble: _Trouble) -> bool:
        if trouble.until is None:
            return False
        wait = (trouble.until - self._clock.now()).total_seconds()
        if wait > 0 or trouble.probed:
            raise ReceiverBusy(f"{host} has not answered {FAILURES} times in a row", seconds=max(wait, _PROBE_SECONDS))
        return True

    def _unanswered(self, host: str) -> None:
        trouble = self._troubles.setdefault(host, _Trouble())
        trouble.failures += 1
        trouble.successes = 0
        if trouble.failures >= FAILURES:
            trouble.until = self._clock.now() + RECOVERY
        while len(self._troubles) > _MOST_HOSTS:
            del self._troubles[next(iter(self._troubles))]

    def _answered(self, host: str) -> None:
        trouble = self._troubles.get(host)
        if trouble is None:
            return
        trouble.successes += 1
        if trouble.until is None or trouble.successes >= SUCCESSES:
            self._troubles.pop(host, None)
