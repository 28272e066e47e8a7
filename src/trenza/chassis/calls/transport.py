"""What carries the bytes of a call to another process: the port that clients, breakers and test doubles share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

__all__ = ["Answer", "Transport", "TransportFailed"]


class TransportFailed(Exception):
    """No answer came back. ``sent`` is False only when not one byte of the request can have reached the callee."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class Answer(NamedTuple):
    """An HTTP answer, complete. Names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Posts a request to the one service that it leads to."""

    async def post(
        self, path: str, headers: Mapping[str, str], body: bytes, timeout: float, *, idempotent: bool = False
    ) -> Answer:
        """The answer, whatever its status, within ``timeout`` seconds. What is ``idempotent`` may be posted several times.

        Raises `TransportFailed` without one, and may raise `TimeoutError`; the caller bounds it in any case, a little later.
        """
        ...
