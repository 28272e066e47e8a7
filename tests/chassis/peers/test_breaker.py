"""The breaker against a model that is told in the words of its rule, under all orders of events."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from trenza.chassis.peers import Attempt, Breaker, BreakerOpen, BreakerState, PeerLimits
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging
from trenza.chassis.telemetry.metrics import registry


class BreakerRules(RuleBasedStateMachine):
    """Attempts begin, end well, badly or without a word, in any order, while time passes."""

    attempts: Bundle[tuple[Attempt, int]] = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    @initialize(failures=st.integers(1, 4), successes=st.integers(1, 3))
    def begin(self, failures: int, successes: int) -> None:
        self.failures, self.successes = failures, successes
        limits = PeerLimits(failure_threshold=failures, recovery_seconds=60, successes_to_close=successes)
        self.breaker = Breaker("images", limits, monotonic=lambda: self.now)
        self.state, self.era, self.row, self.until = "closed", 0, 0, 0.0
        self.probe: Attempt | None = None

    def enter(self, state: str) -> None:
        self.state, self.row, self.probe = state, 0, None
        self.era += 1
        if state == "open":
            self.until = self.now + 60

    @rule(target=attempts)
    def attempt(self) -> tuple[Attempt, int]:
        may = (
            self.state == "closed"
            or (self.state == "open" and self.now >= self.until)
            or (self.state == "half-open" and self.probe is None)
        )
        if not may:
            with pytest.raises(BreakerOpen) as refused:
                self.breaker.attempt()
            assert refused.value.retry_in == (self.until - self.now if self.state == "open" else 0)
            # hypothesis wants a value: one that belongs to no era
            return Attempt(self.breaker, -1, probe=False), -1
        if self.state == "open":
            self.enter("half-open")
        begun = self.breaker.attempt()
        if self.state == "half-open":
            self.probe = begun
        return begun, self.era

    @rule(attempt=consumes(attempts), well=st.sampled_from([True, False, None]))
    def end(self, *, attempt: tuple[Attempt, int], well: bool | None) -> None:
        begun, era = attempt
        with begun:
            if well is True:
                begun.succeeded()
            elif well is False:
                begun.failed()
        if era != self.era:
            return
        if self.probe is begun:
            self.probe = None
        if well is None:
            return
        if self.state == "closed":
            self.row = 0 if well else self.row + 1
            if self.row == self.failures:
                self.enter("open")
        elif not well:
            self.enter("open")
        else:
            self.row += 1
            if self.row == self.successes:
                self.enter("closed")

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_is_as_the_rule_says(self) -> None:
        if not hasattr(self, "breaker"):
            return
        assert self.breaker.state == self.state
        assert self.breaker.retry_in == (max(0, self.until - self.now) if self.state == "open" else 0)
        figure = {"closed": 0, "half-open": 1, "open": 2}[self.state]
        assert registry().get_sample_value("trenza_breaker_state", {"callee": "images"}) == figure


TestBreakerRules = BreakerRules.TestCase


def test_changes_are_logged() -> None:
    lines, now = StringIO(), 0.0
    configure_logging(PlatformSettings(environment="production"), stream=lines)
    breaker = Breaker("mail", PeerLimits(failure_threshold=1, successes_to_close=1), monotonic=lambda: now)
    with breaker.attempt() as attempt:
        attempt.failed()
    now = 60.0
    with breaker.attempt() as attempt:
        attempt.succeeded()
    changes = [(line["was"], line["now"]) for line in map(json.loads, lines.getvalue().splitlines())]
    assert changes == [("closed", "open"), ("open", "half-open"), ("half-open", "closed")]
    assert breaker.state is BreakerState.CLOSED


def test_a_refusal_says_when_the_next_try_is() -> None:
    breaker = Breaker("mail", PeerLimits(failure_threshold=1), monotonic=lambda: 0.0)
    with breaker.attempt() as attempt:
        attempt.failed()
    with pytest.raises(BreakerOpen, match=r"^mail did not answer several times in a row; it is tried again in 60\.0 s$"):
        breaker.check()
