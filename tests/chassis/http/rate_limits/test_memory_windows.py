from __future__ import annotations

import tracemalloc
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from trenza.chassis.http.rate_limits.windows import MemoryWindows
from trenza.chassis.rates import Rate

RATE = Rate.read("3/second, 5/10 seconds")
STEPS = st.lists(
    st.tuples(st.integers(0, 4).map(lambda quarters: quarters * 0.25), st.sampled_from("ab"), st.booleans()), max_size=80
)


class Hands:
    """A clock that a test moves, even backwards."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(STEPS)
async def test_what_passes_is_what_a_list_of_all_moments_allows(steps: list[tuple[float, str, bool]]) -> None:
    hands = Hands()
    windows = MemoryWindows(now=hands)
    passed: defaultdict[str, list[float]] = defaultdict(list)
    for pause, key, given_back in steps:
        hands.now += pause
        used = [sum(moment > hands.now - w.seconds for moment in passed[key]) for w in RATE.windows]
        room = all(count < w.amount for count, w in zip(used, RATE.windows, strict=True))
        verdict = await windows.take(key, RATE)
        assert verdict.allowed == room
        if room:
            passed[key].append(hands.now)
        for standing, before in zip(verdict.standings, used, strict=True):
            assert standing.remaining == standing.window.amount - before - room
            inside = [moment for moment in passed[key] if moment > hands.now - standing.window.seconds]
            assert standing.seconds == (inside[0] + standing.window.seconds - hands.now if inside else 0)
        if room and given_back:
            await windows.give_back(key, RATE, verdict.moment)
            passed[key].pop()


@given(st.lists(st.tuples(st.floats(-5, 5), st.sampled_from("ab")), max_size=60))
async def test_a_clock_that_is_set_back_lets_nobody_through_who_would_not_have_been(steps: list[tuple[float, str]]) -> None:
    hands, rate = Hands(), Rate.read("3/second")
    windows = MemoryWindows(now=hands)
    latest, passed = float("-inf"), defaultdict[str, list[float]](list)
    for pause, key in steps:
        hands.now += pause
        latest = max(latest, hands.now)
        if (await windows.take(key, rate)).allowed:
            passed[key].append(latest)
    for moments in passed.values():
        assert all(later - earlier >= 1 for earlier, later in zip(moments, moments[3:], strict=False))


async def test_a_flood_of_addresses_is_forgotten_as_it_came_and_takes_bounded_memory() -> None:
    windows = MemoryWindows(now=Hands(), most_callers=1_000)
    rate = Rate.read("2/minute")
    tracemalloc.start()
    for number in range(1_000):
        await windows.take(f"address {number}", rate)
    full = tracemalloc.get_traced_memory()[0]
    passed = 0
    for number in range(1_000, 20_000):
        await windows.take(f"address {number}", rate)
        passed += (await windows.take("the one that keeps asking", rate)).allowed
    later = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(windows) == 1_000
    assert later < full * 1.2
    assert passed == 2, "who keeps asking is not forgotten, although refused"


async def test_moments_are_bounded_as_well() -> None:
    windows = MemoryWindows(now=Hands(), most_hits=100)
    rate = Rate.read("60/minute")
    for key in "abc":
        for _ in range(60):
            await windows.take(key, rate)
    assert len(windows) == 1
    assert not (await windows.take("c", rate)).allowed


async def test_who_has_not_asked_for_a_window_is_forgotten_without_a_flood() -> None:
    hands = Hands()
    windows = MemoryWindows(now=hands)
    for number in range(10_000):
        hands.now += 0.1
        await windows.take(f"address {number}", Rate.read("2/second"))
    assert len(windows) < 30
