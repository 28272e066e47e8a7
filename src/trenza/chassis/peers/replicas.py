"""The replicas of one peer: which of them gets the next request, and which is left alone for a while."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from trenza.chassis.telemetry.logs import get_logger

__all__ = ["Replica", "Replicas", "Use"]

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
"""Seconds: 30 is the base of Envoy's outlier ejection; the first ones are short, as a restart takes about two."""

_log = get_logger(__name__)


class Replica:
    """One process of the peer, by the address of its root."""

    def __init__(self, url: str) -> None:
        parsed = urlsplit(url)
        if parsed.scheme not in ("http", "https") or not parsed.hostname or parsed.query or parsed.fragment:
            raise ValueError(f"{url!r} is no address of a process: write http://host:port or https://host:port")
        self.url = url.rstrip("/")
        self.outstanding = 0
        """Requests under way."""
        self.failures = 0
        """Connections in a row that were refused or reset."""
        self.aside_until = 0.0
        """The monotonic time before which it is left alone."""


class Use:
    """One request to a replica: a block, in which `answered` or `failed` may be said."""

    __slots__ = ("_replicas", "replica")

    def __init__(self, replicas: Replicas, replica: Replica) -> None:
        self._replicas, self.replica = replicas, replica

    def answered(self) -> None:
        """It answered: its failures are forgotten."""
        self._replicas._answered(self.replica)  # noqa: SLF001 - the two are one thing

    def failed(self) -> None:
        """It refused or reset the connection, gave no answer, or says that it is draining: leave it alone for a while."""
        self._replicas._failed(self.replica)  # noqa: SLF001 - the two are one thing

    def __enter__(self) -> Self:
        self.replica.outstanding += 1
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.replica.outstanding -= 1


class Replicas:
    """Picks the replica with the fewest outstanding requests, by chance among equals.

    One that failed is set aside for half a second, doubling up to 30 s, then tried by one request at a time until it answers.
    Never all of them: where all are aside, they get requests all the same, as equals. Not for use from several threads.
    """

    def __init__(
        self,
        peer: str,
        urls: Sequence[str],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        """Raises `ValueError` without a URL, for one that is none, and for one that stands there twice."""
        self.all = tuple(Replica(url) for url in urls)
        if not self.all:
            raise ValueError(f"{peer} has no address: give the URL of at least one process that serves it")
        if len({replica.url for replica in self.all}) < len(self.all):
            raise ValueError(f"{peer} has an address twice: {', '.join(urls)}; name each process once")
        self._peer, self._monotonic = peer, monotonic
        self._chance = chance or random.Random()  # noqa: S311 - no secret

    def use(self, *, avoid: Collection[Replica] = ()) -> Use:
        """The replica for one request. Those in ``avoid`` (tried already) are taken only when there are no others."""
        candidates = [replica for replica in self.all if replica not in avoid] or list(self.all)
        now = self._monotonic()
        # One that failed and has not answered since is tried by one request: it may well fail again.
        fit = [each for each in candidates if not each.failures or (each.aside_until <= now and not each.outstanding)]
        if not fit:
            return Use(self, min(candidates, key=lambda each: (each.outstanding, each.aside_until)))
        least = min(each.outstanding for each in fit)
        return Use(self, self._chance.choice([each for each in fit if each.outstanding == least]))

    def states(self) -> list[dict[str, str | int | float]]:
        """Each one's ``url``, ``state`` (``ready``, ``aside``, ``trying``), ``outstanding``; where aside, ``back_in`` seconds."""
        now = self._monotonic()
        found: list[dict[str, str | int | float]] = []
        for each in self.all:
            state = "ready" if not each.failures else "aside" if each.aside_until > now else "trying"
            shown: dict[str, str | int | float] = {"url": each.url, "state": state, "outstanding": each.outstanding}
            found.append(shown | ({"back_in": round(each.aside_until - now, 1)} if state == "aside" else {}))
        return found

    def _answered(self, replica: Replica) -> None:
        if replica.failures:
            _log.info("replica is back", peer=self._peer, url=replica.url)
        replica.failures = 0
        replica.aside_until = 0.0

    def _failed(self, replica: Replica) -> None:
        now = self._monotonic()
        if replica.aside_until > now:  # requests that were under way together fail together: that is one failure
            return
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(replica.failures, 16))
        replica.failures += 1
        replica.aside_until = now + pause
        _log.warning("replica set aside", peer=self._peer, url=replica.url, seconds=pause, failures=replica.failures)
