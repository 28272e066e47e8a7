"""How an exchange with an upstream ends badly."""

from __future__ import annotations

__all__ = ["ClientGone", "NotSent", "UpstreamBroke", "UpstreamSlow"]


class UpstreamBroke(Exception):
    """The connection ended before the answer was complete, or what came is no HTTP/1.1."""


class NotSent(UpstreamBroke):
    """No byte of the request has reached the upstream: whatever it asks may be asked elsewhere.

    ``seconds`` are those that were waited for a connection; None where it was refused.
    """

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class UpstreamSlow(UpstreamBroke):
    """Nothing came (or nothing was taken) for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing for {seconds:g} s")
        self.seconds = seconds


class ClientGone(Exception):
    """Whoever asked has left; nobody is there to be told."""
