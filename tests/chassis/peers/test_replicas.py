"""Which replica gets a request: the least busy one, and one that failed only after a while."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trenza.chassis.peers import Replicas, Use


class Now:
    """A monotonic clock in the test's hands."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def three(now: Now) -> Replicas:
    return Replicas("images", ["http://a:1", "http://b:1/", "http://c:1"], monotonic=now, chance=random.Random(7))  # noqa: S311 - no secret


def fail(use: Use) -> str:
    with use:
        use.failed()
    return use.replica.url


def test_the_least_busy_one_gets_it() -> None:
    replicas = three(Now())
    with ExitStack() as open_uses:
        first = [open_uses.enter_context(replicas.use()).replica.url for _ in range(6)]
    assert Counter(first) == {"http://a:1": 2, "http://b:1": 2, "http://c:1": 2}
    assert all(each.outstanding == 0 for each in replicas.all)


def test_equals_are_chosen_by_chance() -> None:
    replicas = three(Now())
    chosen: Counter[str] = Counter()
    for _ in range(300):
        with replicas.use() as use:
            chosen[use.replica.url] += 1
    assert min(chosen.values()) > 60


def test_one_that_failed_is_left_alone_longer_and_longer_and_then_tried_by_one_request() -> None:
    now = Now()
    replicas = three(now)
    bad = replicas.all[0]
    others = replicas.all[1:]
    for pause in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        assert fail(replicas.use(avoid=others)) == bad.url
        now.seconds += pause - 0.01
        assert all(replicas.use().replica is not bad for _ in range(20))
        now.seconds += 0.01
        with ExitStack() as open_uses:
            for _ in range(9):
                open_uses.enter_context(replicas.use())
            assert bad.outstanding == 1
    with replicas.use(avoid=others) as use:
        use.answered()
    assert [each["state"] for each in replicas.states()] == ["ready"] * 3


def test_failures_of_one_moment_are_one_failure() -> None:
    now = Now()
    replicas = three(now)
    with replicas.use() as one, replicas.use(avoid=[each for each in replicas.all if each is not one.replica]) as two:
        one.failed()
        two.failed()
    assert one.replica.failures == 1


@given(st.lists(st.sampled_from(["use", "fail", "answer", "wait"]), max_size=60), st.integers(1, 4))
def test_never_all_of_them_are_left_alone(steps: list[str], size: int) -> None:
    now = Now()
    replicas = Replicas("images", [f"http://h{number}:1" for number in range(size)], monotonic=now)
    for step in steps:
        if step == "wait":
            now.seconds += 0.3
        with replicas.use() as use:
            if step == "fail":
                use.failed()
            elif step == "answer":
                use.answered()
        assert all(each.outstanding == 0 for each in replicas.all)
    well = [each for each in replicas.all if not each.failures]
    assert not well or replicas.use().replica in well or replicas.use().replica.aside_until <= now()


def test_states_tell_who_is_aside_and_how_long() -> None:
    now = Now()
    replicas = Replicas("images", ["http://a:1", "http://b:1"], monotonic=now)
    fail(replicas.use(avoid=replicas.all[1:]))
    aside, ready = replicas.states()
    assert aside == {"url": "http://a:1", "state": "aside", "outstanding": 0, "back_in": 0.5}
    assert ready == {"url": "http://b:1", "state": "ready", "outstanding": 0}
    now.seconds += 1
    assert replicas.states()[0]["state"] == "trying"


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        ([], "images has no address"),
        (["ftp://a:1"], "'ftp://a:1' is no address of a process: write http://host:port"),
        (["a:8000"], "is no address of a process"),
        (["http://a:1?x=1"], "is no address of a process"),
        (["http://a:1", "http://a:1/"], "images has an address twice"),
    ],
)
def test_addresses_that_are_none_are_refused(urls: list[str], words: str) -> None:
    with pytest.raises(ValueError, match="address") as caught:
        Replicas("images", urls)
    assert words in str(caught.value)
