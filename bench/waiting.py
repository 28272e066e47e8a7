"""Waiting for a server that a benchmark has just started."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import httpx

__all__ = ["until_answering"]

_LOOK_SECONDS = 0.02


class _Process(Protocol):
    def poll(self) -> Any:
        """The exit code, or None while it runs."""


def until_answering(
    process: _Process, asked: Callable[[], bool], *, name: str, within: float, said: Callable[[], str] = str
) -> None:
    """Ask until the answer is yes; a connection that is refused is a no.

    Raises RuntimeError with what the server ``said`` when it ends instead, or gives no answer ``within`` so many seconds.
    """
    end = time.monotonic() + within
    while time.monotonic() < end:
        if (code := process.poll()) is not None:
            raise RuntimeError(f"{name} ended with {code} before it answered. {said()}".rstrip())
        try:
            if asked():
                return
        except (OSError, httpx.TransportError):
            pass  # it does not listen yet
        time.sleep(_LOOK_SECONDS)
    raise RuntimeError(f"{name} did not answer within {within:g} s. {said()}".rstrip())
