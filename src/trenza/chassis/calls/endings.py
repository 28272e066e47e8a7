"""How one exchange with a callee ended, and what that means for its breaker, its replica and further attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final

from trenza.chassis.calls.protocol import OUTCOME, Outcome
from trenza.chassis.calls.transport import Answer, TransportFailed

__all__ = ["Ending", "Kind", "asked_to_wait", "kind_of", "outcome_of"]

_AWAY_STATUSES: Final = (429, 503)
"""With the outcome ``not-run``: later, or elsewhere, it may run."""


class Kind(Enum):
    """What an ending means for breaker, replica and retries."""

    ANSWERED = "answered"
    """A result, a refusal, that the implementation broke, or why this very call cannot run. Final, and the callee is there."""
    TIMED_OUT = "timed-out"
    """The callee tells that the time was used up, just before the caller sees it by itself."""
    UNREACHABLE = "unreachable"
    """Nothing was sent."""
    AWAY = "away"
    """It was sent, and the callee says that it does not run calls now."""
    FAILED = "failed"
    """No answer, or none of the callee's. It may have run."""


@dataclass(frozen=True)
class Ending:
    """How one exchange ended."""

    kind: Kind
    answer: Answer | None = None
    failure: TransportFailed | None = None

    @property
    def may_have_run(self) -> bool:
        """Whether the implementation may have begun."""
        return self.kind in (Kind.FAILED, Kind.TIMED_OUT)

    def conclude(self, *, ran_before: bool) -> Answer:
        """Return or raise what the caller gets. ``ran_before``: an earlier attempt may have run, whatever became of this one."""
        if self.failure is not None:
            raise TransportFailed(self.failure.reason, sent=self.failure.sent or ran_before) from self.failure
        if self.answer is None:
            raise RuntimeError("an exchange ended with neither an answer nor a failure")
        if ran_before and self.answer.headers.get(OUTCOME) == Outcome.NOT_RUN:
            raise TransportFailed("an attempt broke off, and the next one was turned away", sent=True)
        return self.answer


_KINDS: Final[dict[str, Kind]] = {
    Outcome.RESULT: Kind.ANSWERED,
    Outcome.REFUSED: Kind.ANSWERED,
    Outcome.NOT_RUN: Kind.ANSWERED,
    Outcome.BROKE: Kind.ANSWERED,
    Outcome.TIMED_OUT: Kind.TIMED_OUT,
}


def kind_of(answer: Answer) -> Kind:
    """What an answer means."""
    outcome = answer.headers.get(OUTCOME, "")
    if outcome == Outcome.NOT_RUN and answer.status in _AWAY_STATUSES:
        return Kind.AWAY
    return _KINDS.get(outcome, Kind.FAILED)


def outcome_of(answer: Answer) -> str:
    """The outcome for the metrics: of few values, whoever answers."""
    outcome = answer.headers.get(OUTCOME, "")
    return outcome if outcome in _KINDS else "foreign"


def asked_to_wait(answer: Answer, now: datetime) -> float:
    """Seconds that its ``Retry-After`` names (RFC 9110, section 10.2.3), or 0."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):  # not there, no date, or one without a zone
        return 0.0
